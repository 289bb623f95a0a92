"""What all tests share: a cache of their own, no hub, and toy models that are built here in a moment."""

import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Workers share the cores: PyTorch, here and in the processes that tests start, takes this worker's part.
# Set before PyTorch is imported, and over the value that a worker inherits from the process that starts it.
THREADS = max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import datasets
import hypothesis
import pytest
import torch
from filelock import FileLock
from huggingface_hub import constants
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    logging,
    set_seed,
)

pytest.register_assert_rewrite("browsing", "trainings")  # they assert, and are no test modules
os.environ["WORKBENCH_QUIET"] = "1"
# The same examples in each run. WORKBENCH_FUZZ=N, the number of examples of some tests, draws new ones.
hypothesis.settings.register_profile(
    "workbench", deadline=None, max_examples=40, derandomize="WORKBENCH_FUZZ" not in os.environ
)
hypothesis.settings.load_profile("workbench")
logging.disable_progress_bar()
datasets.disable_progress_bars()

LINES = [
    "Write a function that adds two numbers.",
    "def add(a, b):\n    return a + b",
    "Reverse the string and return the result.",
    "def reverse(text):\n    return text[::-1]",
    "Question:\nAnswer:\n### Instruction:\n### Response:\n",
]

_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    # Wide weights: with the usual narrow ones a toy predicts the same whatever came before.
    "initializer_range": 0.2,
}
_GROUPED = _SMALL | {"num_key_value_heads": 2, "head_dim": 8}
ARCHITECTURES = {
    "llama": _GROUPED,
    "qwen2": _GROUPED,
    "gemma": _GROUPED,
    "gpt_neox": _SMALL,
    "mistral": _GROUPED | {"sliding_window": 6},
    # Its positions come from the attention mask in other code; here it is told them.
    "opt": {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"word_embed_proj_dim": 32, "max_position_embeddings": 512, "init_std": 0.2, "dropout": 0.0},
    # Its attention knows distances only and takes no positions: packed samples see each other.
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
}
LEAKING = "bloom"
ISOLATING = [name for name in ARCHITECTURES if name != LEAKING]


@pytest.hookimpl(tryfirst=True)  # before `-m` deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark model and browser tests slow, and start slow tests first: workers then end at about one time."""
    for item in items:
        if is_real(item):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: (not is_real(item), item.get_closest_marker("slow") is None))


def is_real(item: pytest.Item) -> bool:
    """Whether a test uses the real model or a real browser."""
    return any(item.get_closest_marker(name) for name in ("model", "browser"))


@pytest.fixture(autouse=True)
def _isolation(request, monkeypatch, tmp_path):
    """A fixed seed and a cache for each test; tests with the real model share one in each worker."""
    set_seed(0)
    if is_real(request.node):
        monkeypatch.setenv("WORKBENCH_CACHE", str(request.getfixturevalue("worker_cache")))
        torch.set_num_threads(THREADS)
    else:
        monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "workbench-cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        torch.set_num_threads(1)  # toys are too small to share out


@pytest.fixture(scope="session")
def worker_cache(tmp_path_factory) -> Path:
    """A cache for this worker, with the user's models in it.

    Trainings that share a cache wait for each other, which would leave a worker idle.
    """
    from workbench.core.store import cache_dir
    from workbench.evaluation.judging import evalplus
    from workbench.lm import models

    user, own = cache_dir(), tmp_path_factory.mktemp("cache")
    with FileLock(user / "tests.lock"):
        for name in ("smollm2-135m", "all-MiniLM-L6-v2"):
            models.resolve(name)
        evalplus.search_path()
    for path in (user / "models", user / f"evalplus-{evalplus.VERSION}"):
        if path.exists():
            (own / path.name).symlink_to(path)
    return own


@pytest.fixture(scope="session")
def evalplus() -> None:
    """EvalPlus, fetched once into the user's own cache and importable by the worker processes of all
    tests."""
    from workbench.evaluation.judging import evalplus

    for path in evalplus.search_path():
        sys.path.append(path)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [path, os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def toy_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of 320 tokens; it closes a sequence with a token and opens it with none."""
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(LINES * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<eos>", pad_token="<pad>")


@pytest.fixture(scope="session")
def toy_model_dir(toy_tokenizer, tmp_path_factory) -> Callable[[str], Path]:
    """`toy_model_dir("llama")` is a folder with a random model of that architecture and its tokenizer."""

    @cache
    def build(architecture: str) -> Path:
        set_seed(0)
        config = AutoConfig.for_model(
            architecture,
            **ARCHITECTURES[architecture],
            vocab_size=384,  # more than the tokenizer has, which transformers may extend when it loads one
            bos_token_id=None,
            eos_token_id=toy_tokenizer.eos_token_id,
            pad_token_id=toy_tokenizer.pad_token_id,
        )
        folder = tmp_path_factory.mktemp(architecture)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
        toy_tokenizer.save_pretrained(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def toy_embedder_dir(toy_tokenizer, tmp_path_factory) -> Path:
    """A sentence-transformers folder: a tiny BERT and the mean of its vectors, not of unit length."""
    from sentence_transformers import SentenceTransformer

    set_seed(0)
    config = BertConfig(vocab_size=384, pad_token_id=toy_tokenizer.pad_token_id, **_SMALL)
    bert, folder = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("embedder")
    BertModel(config).save_pretrained(bert)
    toy_tokenizer.save_pretrained(bert)
    SentenceTransformer(str(bert), device="cpu").save(str(folder))  # adds the mean
    return folder


def table(instructions: list[str], responses: list[str]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"instruction": instructions, "response": responses})


@pytest.fixture
def long_run(toy_model_dir, tmp_path, monkeypatch):
    """Return a function that starts a long run; the process of a detached one is forked at once."""
    import detached
    from trainings import starter

    from workbench.training import job

    monkeypatch.setattr(job, "_spawn", detached.spawn)
    return starter(toy_model_dir("llama"), tmp_path / "run")

"""Recipes by name: a first try that takes minutes, and the paper's studies."""

from dataclasses import replace
from pathlib import Path

from ..core.errors import UserError
from ..training import TrainingSettings
from .recipe import Recipe

# LoRA, because a first try should take minutes and leave megabytes; the learning rate is one for adapters.
QUICKSTART = Recipe(
    rows=240,
    training=TrainingSettings(
        method="lora", learning_rate=5e-4, batch_size=4, accumulation=2, max_length=1024
    ),
)

# arXiv 2504.12687 and its release. Two things differ, both on purpose: packed samples do not see each other
# (training.leaky: true is the authors' way), and some rows are held out. Each model scores the data that it
# is tuned on.
_PAPER_TRAINING = TrainingSettings(
    method="full",
    epochs=3,
    learning_rate=5e-5,
    scheduler="cosine",
    warmup_steps=15,
    batch_size=16,
    accumulation=4,
    max_length=2048,
    strategy="dynamic",
    lora_r=8,
    lora_alpha=16,
    lora_dropout=0.1,
    gradient_checkpointing=True,
    dtype="bfloat16",
    tf32=True,
)
_DEEPSEEK_OSS = Recipe(
    data="ise-uiuc/Magicoder-OSS-Instruct-75K",
    scorer="deepseek-ai/deepseek-coder-6.7b-base",
    convention="paper",
    prompt="paper",
    variant="ppl-ratio",
    embedder="all-mpnet-base-v2",
    k=10,
    cluster_seed=42,
    ratio=0.4,
    strategy="ifd-cluster",
    max_ifd=1.0,
    model="deepseek-ai/deepseek-coder-6.7b-base",
    training=replace(_PAPER_TRAINING, template="deepseek"),
    gpus=8,
    max_new_tokens=1024,
)
_CODELLAMA_EVOL = replace(
    _DEEPSEEK_OSS,
    data="nickrosh/Evol-Instruct-Code-80k-v1",
    scorer="codellama/CodeLlama-7b-Python-hf",
    model="codellama/CodeLlama-7b-Python-hf",
    training=replace(_PAPER_TRAINING, template="codellama"),
)

PRESETS = {
    "quickstart": QUICKSTART,
    "paper-deepseek-oss": _DEEPSEEK_OSS,
    "paper-codellama-evol": _CODELLAMA_EVOL,
}


def preset(name: str) -> Recipe:
    """The recipe of that name: "quickstart", "paper-deepseek-oss" or "paper-codellama-evol"."""
    if name not in PRESETS:
        raise UserError(f"recipe={name!r} is no file and no preset; the presets are {', '.join(PRESETS)}.")
    return PRESETS[name]


def recipe_of(given: Recipe | str | Path) -> Recipe:
    """A recipe as it is, from its file, or the preset of that name."""
    if isinstance(given, Recipe):
        return given
    if str(given) in PRESETS or (not Path(given).exists() and not Path(given).suffix):
        return preset(str(given))
    return Recipe.from_yaml(given)

"""Recipes by name: a quickstart that takes minutes, and the paper's studies."""

from dataclasses import replace
from pathlib import Path

from ..core.errors import UserError
from ..training import TrainingSettings
from .recipe import Recipe

# LoRA takes minutes and leaves megabytes; its adapters need a higher learning rate than full fine-tuning.
QUICKSTART = Recipe(
    exclude=("leak",),
    rows=200,
    training=TrainingSettings(
        method="lora", learning_rate=5e-4, batch_size=4, accumulation=2, max_length=1024
    ),
)

# The settings of arXiv 2504.12687 and its released code, with two deliberate differences: packed samples do
# not attend to each other (training.leaky: true restores that), and some rows are held out. Each model scores
# the data that it is trained on.
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
    """The recipe called "quickstart", "paper-deepseek-oss" or "paper-codellama-evol".

    The paper's recipes (arXiv 2504.12687) are meant for 8 GPUs: DeepSeek-Coder-Base 6.7B on OSS-Instruct and
    CodeLlama-Python 7B on Evol-Instruct, each scored by the model itself, ratio 0.4, k = 10, dynamic packing.
    They differ from the paper in that packed samples do not attend to each other and that 40 rows are held
    out. "quickstart" trains LoRA adapters on 200 rows of the bundled dataset, 40 of them held out, and
    leaves out rows that share text with tasks of HumanEval or MBPP.

    Raises:
        UserError: the name is unknown.
    """
    if name not in PRESETS:
        raise UserError(
            f"recipe={name!r} is neither a file nor a preset; the presets are {', '.join(PRESETS)}."
        )
    return PRESETS[name]


def recipe_of(recipe: Recipe | str | Path) -> Recipe:
    """`recipe` itself, the recipe in that file, or the preset of that name."""
    if isinstance(recipe, Recipe):
        return recipe
    if str(recipe) in PRESETS or (not Path(recipe).exists() and not Path(recipe).suffix):
        return preset(str(recipe))
    return Recipe.from_yaml(recipe)

"""All that decides how one fine-tuning goes."""

from dataclasses import dataclass, fields
from numbers import Real

from .. import packing
from ..core.errors import UserError, one_of, positive
from ..evaluation import quick

METHODS = ("full", "lora", "qlora")

# Ours -> transformers' names. The 8-bit ones are bitsandbytes' and need CUDA; the paged one moves its state
# to the host when the GPU is full.
OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adafactor": "adafactor",
    "adamw-8bit": "adamw_bnb_8bit",
    "paged-adamw-8bit": "paged_adamw_8bit",
}


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one fine-tuning. Learning rate, schedule, lengths and LoRA are those of the paper's
    release.

    `method` "full" tunes all weights, "lora" adapters on frozen ones, "qlora" adapters on weights frozen in 4
    bits (nf4, double quantisation; CUDA only). `optimizer` is one of `OPTIMIZERS`: "adafactor" keeps a
    fraction of AdamW's state, "adamw-8bit" a quarter (CUDA only). `tf32` lets GPUs from Ampere on multiply
    float32 in TF32.

    `batch_size` counts the samples of one forward pass, `accumulation` the passes of one optimizer step.
    `overlong` says what becomes of samples above `max_length`, as in `wb.pack`: a piece of a split one goes
    on where the last ended, without the prompt, and each token is predicted once. `gradient_checkpointing`
    computes whole layers again to save memory; without it, only what is cheap to compute.

    `dtype` is that of the matrix products; fully tuned weights stay float32. A checkpoint is written when the
    run is stopped, every `save_minutes` (less often where that would take a twentieth of the time; None:
    never) and, if given, every `save_steps` optimizer steps. `leaky=True` trains as the paper's collator
    does, with samples of a row seeing each other: for comparison only.

    Every `eval_steps` optimizer steps, and after the last, the loss on `finetune`'s held-out rows is measured
    (None: never), and pass@1 of one greedy answer to each of `eval_tasks` tasks, always the same, of
    `eval_benchmark`: "held-out" rows with a column `check`, or "humaneval", "mbpp" and their plus suites.
    Loss and weights are those of a run without it. Its seconds are not counted in the history, the memory
    that it takes is. With `launch` it cannot be had.
    """

    method: str = "full"
    epochs: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 5e-5
    scheduler: str = "cosine"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    batch_size: int = 16
    accumulation: int = 1
    max_length: int = 2048
    strategy: str = "dynamic"
    overlong: str = "truncate"
    template: str = "auto"
    leaky: bool = False
    lora_r: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.1
    gradient_checkpointing: bool = False
    save_minutes: float | None = 20.0
    save_steps: int | None = None
    dtype: str = "auto"
    eval_steps: int | None = None
    eval_tasks: int = 0
    eval_benchmark: str = quick.HELD_OUT
    eval_max_new_tokens: int = 256
    tf32: bool = False
    device: str = "auto"
    seed: int = 0

    def __post_init__(self):
        one_of("method", self.method, METHODS)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("strategy", self.strategy, packing.PACKERS)
        one_of("overlong", self.overlong, packing.OVERLONG)
        one_of("eval_benchmark", self.eval_benchmark, quick.BENCHMARKS)
        for name in (
            *("epochs", "batch_size", "accumulation", "max_length", "lora_r", "eval_max_new_tokens"),
            *(name for name in ("save_steps", "eval_steps") if getattr(self, name) is not None),
            *(["eval_tasks"] if self.eval_tasks else []),
        ):
            positive(name, getattr(self, name))
        if self.save_minutes is not None and not self.save_minutes > 0:
            raise UserError(f"save_minutes={self.save_minutes!r} must be above 0, or None for never.")
        if not isinstance(self.learning_rate, Real) or not self.learning_rate > 0:
            raise UserError(f"learning_rate={self.learning_rate!r} must be above 0; 5e-5 is the paper's.")


def settings_of(given: dict) -> TrainingSettings:
    """`TrainingSettings(**given)`, with an error that a person can mend for a name that is none of them."""
    for name in given:
        one_of("setting", name, [field.name for field in fields(TrainingSettings)])
    return TrainingSettings(**given)

"""All that decides how one fine-tuning goes."""

from dataclasses import dataclass, fields
from numbers import Real

from .. import packing
from ..errors import UserError, one_of, positive

METHODS = ("full", "lora")


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one fine-tuning. Learning rate, schedule, lengths and LoRA are those of the paper's
    release.

    `batch_size` counts the samples of one forward pass, `accumulation` the passes of one optimizer step.
    `dtype` is that of the matrix products; fully tuned weights stay float32. A checkpoint is
    written when the run is stopped, every `save_minutes` (less often where that would take a twentieth of the
    time; None: never) and, if given, every `save_steps` optimizer steps. `leaky=True` trains as the
    paper's collator does, with samples of a row seeing each other: for comparison only.
    """

    method: str = "full"
    epochs: int = 1
    learning_rate: float = 5e-5
    scheduler: str = "cosine"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    batch_size: int = 16
    accumulation: int = 1
    max_length: int = 2048
    strategy: str = "dynamic"
    template: str = "auto"
    leaky: bool = False
    lora_r: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.1
    gradient_checkpointing: bool = False
    save_minutes: float | None = 20.0
    save_steps: int | None = None
    dtype: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self):
        one_of("method", self.method, METHODS)
        one_of("strategy", self.strategy, packing.STRATEGIES)
        for name in ("epochs", "batch_size", "accumulation", "max_length", "lora_r"):
            positive(name, getattr(self, name))
        if self.save_steps is not None:
            positive("save_steps", self.save_steps)
        if self.save_minutes is not None and not self.save_minutes > 0:
            raise UserError(f"save_minutes={self.save_minutes!r} must be above 0, or None for never.")
        if not isinstance(self.learning_rate, Real) or not self.learning_rate > 0:
            raise UserError(f"learning_rate={self.learning_rate!r} must be above 0; 5e-5 is the paper's.")


def settings_of(given: dict) -> TrainingSettings:
    """`TrainingSettings(**given)`, with an error that a person can mend for a name that is none of them."""
    for name in given:
        one_of("setting", name, [field.name for field in fields(TrainingSettings)])
    return TrainingSettings(**given)

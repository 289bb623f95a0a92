"""Fine-tuning on a pack plan: settings, the training loop, and runs that leave a notebook usable."""

from .run import Run, attach, finetune
from .settings import TrainingSettings

__all__ = ["Run", "TrainingSettings", "attach", "finetune"]

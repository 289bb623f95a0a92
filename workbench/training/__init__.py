"""Fine-tuning: settings, the training loop over a pack plan, and runs in the background of a notebook."""

from .run import Run, attach, finetune
from .settings import TrainingSettings

__all__ = ["Run", "TrainingSettings", "attach", "finetune"]

"""Fine-tuning on the screen: the form that starts a run, and the run itself."""

from .panel import TrainingPanel
from .run import RunPanel

__all__ = ["RunPanel", "TrainingPanel"]

"""Figures with controls; they hold no numbers of their own and call the method's functions."""

from .dashboard import Workbench
from .evaluation import EvaluationPanel
from .export import ExportPanel
from .inspector import Inspector
from .run import RunPanel
from .training import TrainingPanel

__all__ = ["EvaluationPanel", "ExportPanel", "Inspector", "RunPanel", "TrainingPanel", "Workbench"]

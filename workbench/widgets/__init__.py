"""Figures with controls; they hold no numbers of their own and call the method's functions."""

from .dashboard import Workbench
from .evaluation import EvaluationPanel

__all__ = ["EvaluationPanel", "Workbench"]

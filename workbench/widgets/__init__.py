"""Figures with controls; they hold no numbers of their own and call the method's functions."""

from .dashboard import Workbench
from .export import ExportPanel
from .inspector import Inspector

__all__ = ["ExportPanel", "Inspector", "Workbench"]

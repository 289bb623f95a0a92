"""Panels that show rows: the inspector of single rows, and the cleaning report."""

from .cleaning import InspectPanel
from .inspector import Inspector

__all__ = ["InspectPanel", "Inspector"]

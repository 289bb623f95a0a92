"""Figures with controls; they hold no numbers of their own and call the method's functions."""

from .dashboard import Workbench

__all__ = ["Workbench"]

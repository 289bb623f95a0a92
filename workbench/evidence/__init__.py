"""Evidence: train on many selections with several seeds, and say with error bars which rows, and how many."""

from .verdict import comparisons, verdict

__all__ = ["comparisons", "verdict"]

"""Evidence: train on many selections with several seeds, and say with error bars which rows, and how many."""

from .plan import Design
from .run import Sweep, sweep
from .verdict import comparisons, verdict

__all__ = ["Design", "Sweep", "comparisons", "sweep", "verdict"]

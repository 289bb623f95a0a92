"""Evidence: train on many selections with several seeds, and say with error bars which rows, and how many."""

from .comparisons import comparisons
from .plan import Design
from .run import Sweep
from .start import prepare, sweep
from .verdict import verdict
from .work import sweep_here

__all__ = ["Design", "Sweep", "comparisons", "prepare", "sweep", "sweep_here", "verdict"]

"""Select the rows to train on, within a budget and with a reason for every row left out.

A strategy is one function that ranks rows; `strategy` registers it, after which selection, comparison, the
recipe and the dashboard know it by name.
"""

from . import strategies  # noqa: F401  importing a strategy registers it
from .budget import Budget, budget_of, check_ratio
from .candidates import BAND, IFD, Candidates, check_by, numeric_columns
from .comparison import Comparison, beside_random, compare
from .hand import Hand
from .inspection import RowDetails, band, ifd_cut, row_details
from .ranking import Ranking
from .registry import SETTINGS, STRATEGIES, Strategy, check_settings, strategy, strategy_for, usable
from .selection import Report, Selection
from .selector import Explorer, select

__all__ = [
    "BAND",
    "IFD",
    "SETTINGS",
    "STRATEGIES",
    "Budget",
    "Candidates",
    "Comparison",
    "Explorer",
    "Hand",
    "Ranking",
    "Report",
    "RowDetails",
    "Selection",
    "Strategy",
    "band",
    "beside_random",
    "budget_of",
    "check_by",
    "check_ratio",
    "check_settings",
    "compare",
    "ifd_cut",
    "numeric_columns",
    "row_details",
    "select",
    "strategy",
    "strategy_for",
    "usable",
]

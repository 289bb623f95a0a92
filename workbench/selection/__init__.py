"""Columns and a budget -> the rows to train on, with a reason for every row left out.

A strategy is one function that orders rows; `strategy` registers it and every part of the workbench knows it.
"""

from . import baselines, by_novelty, by_score, by_space, parametric  # noqa: F401  they register themselves
from .choose import select
from .columns import Candidates, candidates_of
from .cut import ifd_cut
from .explorer import Explorer
from .inspection import About, about
from .ranking import Budget, Ranking, budget_of, check_ratio
from .registry import STRATEGIES, Strategy, strategy, usable
from .result import Report, Selection

__all__ = [
    "STRATEGIES",
    "About",
    "Budget",
    "Candidates",
    "Explorer",
    "Ranking",
    "Report",
    "Selection",
    "Strategy",
    "about",
    "budget_of",
    "candidates_of",
    "check_ratio",
    "ifd_cut",
    "select",
    "strategy",
    "usable",
]

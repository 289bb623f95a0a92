"""Instruction-Following Difficulty (IFD): how little an instruction helps a model predict its response.

    IFD = PPL(response | instruction) / PPL(response)          (arXiv 2504.12687, section 3)

At an IFD just below 1 the instruction hardly helps: the sample is complex. At 1 and above it hurts, and
selection excludes the sample. Each row keeps its summed negative log-likelihoods (nats) and token counts,
from which every variant of the score is derived. A row that cannot be scored has a status and a reason.
"""

from .explain import Explanation, explain
from .pairs import CONVENTIONS
from .row_scorer import RowScorer, ScorerSettings
from .scoring import FEATURES, score
from .variants import VARIANTS, derive

__all__ = [
    "CONVENTIONS",
    "FEATURES",
    "VARIANTS",
    "Explanation",
    "RowScorer",
    "ScorerSettings",
    "derive",
    "explain",
    "score",
]

"""Instruction-Following Difficulty (IFD): how little an instruction helps a model to predict its response.

    IFD = PPL(response | instruction) / PPL(response)          (arXiv 2504.12687, section 3)

Just below 1 the instruction hardly helps: the sample is complex. From 1 on it hurts, and selection leaves the
sample out. What is kept of a row are summed negative log-likelihoods and token counts, from which every
variant is derived; a row that cannot be scored has a status, a reason and no number.
"""

from .explain import Explanation, explain
from .pairs import CONVENTIONS
from .scoring import FEATURES, score
from .variants import VARIANTS, derive

__all__ = ["CONVENTIONS", "FEATURES", "VARIANTS", "Explanation", "derive", "explain", "score"]

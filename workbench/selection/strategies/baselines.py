"""Random selections, of as many rows or as many tokens: the baselines for every other strategy."""

import numpy as np

from ..budget import Budget
from ..candidates import Candidates
from ..ranking import Ranking, proportional
from ..registry import strategy
from .ifd import by_cluster


@strategy("random", nested=True)
def random(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """All rows, scored or not, in random order."""
    return rng.permutation(len(candidates))


def equal_tokens(candidates: Candidates, ranking: Ranking, budget: Budget) -> np.ndarray:
    """As many rows as fit into the tokens that "ifd-cluster" keeps within `budget`, int [1]."""
    if budget.tokens is None:
        if "ifd-cluster" not in candidates.cache:
            candidates.cache["ifd-cluster"] = Ranking.of(by_cluster(candidates), candidates.n_eligible)
        paper = candidates.cache["ifd-cluster"]
        rows = paper.first(proportional(candidates, paper, budget))
        budget = Budget(None, tokens=int(candidates.tokens[rows].sum()))
    return proportional(candidates, ranking, budget)


@strategy("random-tokens", needs=("ifd", "cluster", "n_tokens"), allot=equal_tokens, nested=True)
def random_tokens(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """All rows in random order, as many as have the tokens, and so the training cost, of "ifd-cluster"."""
    return rng.permutation(len(candidates))

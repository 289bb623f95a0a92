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
        paper = candidates.cached(
            ("ifd-cluster", candidates.by, candidates.max_ifd),
            lambda: Ranking.of(by_cluster(candidates), candidates.n_eligible),
        )
        rows = paper.first(proportional(candidates, paper, budget))
        budget = Budget(None, tokens=int(candidates.tokens[rows].sum()))
    return proportional(candidates, ranking, budget)


@strategy(
    "random-tokens",
    needs=("ifd", "cluster", "n_tokens"),
    allot=equal_tokens,
    nested=True,
    settings=("by",),
)
def random_tokens(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """All rows in random order, as many as have the tokens, and so the training cost, of "ifd-cluster"."""
    return rng.permutation(len(candidates))


@strategy("longest", needs=("n_tokens",), nested=True, reason="shorter than the kept rows")
def longest(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """All rows, scored or not, by training length in tokens, longest first; ties keep their order.

    The cheapest baseline: long responses alone were a strong choice for general instructions
    (arXiv 2402.04833), and each row costs more to train on. `n_tokens` counts prompt and response. For the
    response alone, use "ifd-top" with by="n_response".
    """
    return np.argsort(-candidates.tokens, kind="stable")

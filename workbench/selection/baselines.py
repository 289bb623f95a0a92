"""What every rule has to beat: rows at random, as many or as long."""

import numpy as np

from .by_score import ifd_cluster
from .columns import Candidates
from .ranking import Budget, Ranking, proportional
from .registry import strategy


@strategy("random", nested=True)
def random(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Any rows, scored or not: the baseline that every rule has to beat."""
    return rng.permutation(len(candidates))


def equal_tokens(candidates: Candidates, ranking: Ranking, budget: Budget) -> np.ndarray:
    """As many rows as fit into the tokens that `ifd-cluster` keeps on `budget`."""
    if budget.tokens is None:
        if "ifd-cluster" not in candidates.kept_results:
            clusters = ifd_cluster(candidates, candidates.n_eligible, None)
            candidates.kept_results["ifd-cluster"] = Ranking.of(clusters, candidates.n_eligible)
        paper = candidates.kept_results["ifd-cluster"]
        rows = paper.first(proportional(candidates, paper, budget))
        budget = Budget(None, tokens=int(candidates.tokens[rows].sum()))
    return proportional(candidates, ranking, budget)


@strategy("random-tokens", needs=("ifd", "cluster", "n_tokens"), allot=equal_tokens, nested=True)
def random_tokens(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Any rows, up to the tokens that `ifd-cluster` keeps: training cost goes by tokens, not rows."""
    return rng.permutation(len(candidates))

"""Strategies by complexity: the paper's rule, and what it is compared with."""

import numpy as np

from .columns import Candidates
from .ranking import Budget, Ranking, proportional
from .registry import strategy


def hardest(ifd: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`rows` by score, highest first; equal scores keep the order of the dataset."""
    return rows[np.argsort(-ifd[rows], kind="stable")]


@strategy(
    "ifd-cluster",
    needs=("ifd", "cluster"),
    pool="eligible",
    nested=True,
    reason="IFD {ifd:.4f} is below the cut of cluster {cluster}",
)
def ifd_cluster(candidates: Candidates, n: int, rng) -> list[np.ndarray]:
    """The paper's rule: of each cluster's eligible rows the `int(n * ratio)` with the highest IFD."""
    return _by_cluster(candidates)


def _by_cluster(candidates: Candidates) -> list[np.ndarray]:
    clusters = candidates.clusters
    order = hardest(candidates.ifd, np.flatnonzero(candidates.eligible))
    order = order[np.argsort(clusters.codes[order], kind="stable")]
    sizes = clusters.counts(candidates.eligible)
    return [order[end - size : end] for size, end in zip(sizes, np.cumsum(sizes), strict=True)]


def quota(candidates: Candidates, ranking: Ranking, budget: Budget) -> np.ndarray:
    """Of each cluster its share of ALL rows, by largest remainder; at least one where the budget allows.

    What a cluster cannot fill with eligible rows goes to the others in proportion.
    """
    if budget.tokens is not None:
        return proportional(candidates, ranking, budget)
    eligible = np.diff(ranking.starts)
    wanted = budget.rows if budget.ratio is None else round(budget.ratio * len(candidates))
    rows = min(wanted, int(eligible.sum()))
    least = np.minimum(eligible, 1) if rows >= np.count_nonzero(eligible) else np.zeros_like(eligible)
    return largest_remainder(candidates.clusters.counts(), rows, least, eligible)


def largest_remainder(weights: np.ndarray, n: int, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """`n` seats in proportion to `weights` [g], between `least` and `most` of each; ties go to the first.

    least.sum() <= n <= most.sum().
    """
    low, high = 0.0, float(n + most.max(initial=0) + 1)  # of the seats per weight; bisected until they fill n
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * weights, least, most).sum() < n else (low, middle)
    quotas = np.clip(high * weights, least, most)
    seats = np.floor(quotas + 1e-9).astype(int)
    last = np.argsort(-np.round(quotas - seats, 9), kind="stable")
    last = last[seats[last] < most[last]][: n - seats.sum()]
    seats[last] += 1
    return seats


@strategy(
    "ifd-quota",
    needs=("ifd", "cluster"),
    pool="eligible",
    of_all=True,
    allot=quota,
    nested=True,
    reason="IFD {ifd:.4f} is below the cut of cluster {cluster}",
)
def ifd_quota(candidates: Candidates, n: int, rng) -> list[np.ndarray]:
    """The hardest rows of each cluster, exactly the asked share of ALL rows; small clusters survive."""
    return _by_cluster(candidates)


@strategy("ifd-top", needs=("ifd",), pool="eligible", nested=True, reason="IFD {ifd:.4f} is below the cut")
def ifd_top(candidates: Candidates, n: int, rng) -> np.ndarray:
    """The highest IFD of all eligible rows, whatever their cluster: complexity without consistency."""
    return hardest(candidates.ifd, np.flatnonzero(candidates.eligible))


@strategy("ppl-top", needs=("ifd", "ppl_conditioned"), pool="eligible", nested=True)
def ppl_top(candidates: Candidates, n: int, rng) -> np.ndarray:
    """The highest perplexity of the response given the instruction: what surprises, noise included."""
    return hardest(candidates.column("ppl_conditioned"), np.flatnonzero(candidates.eligible))

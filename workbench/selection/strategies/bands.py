"""Strategies that draw eligible rows at random within each cluster, all of them or a band of scores."""

import numpy as np

from ..budget import Budget
from ..candidates import Candidates
from ..ranking import Ranking, proportional
from ..registry import strategy
from .ifd import by_cluster


def paper_quota(candidates: Candidates, ranking: Ranking, budget: Budget) -> np.ndarray:
    """Rows to keep of each cluster, int [g]: `int(n * ratio)` of its n eligible rows, at most those ranked.

    A budget of rows or tokens is `proportional`.
    """
    if budget.ratio is None:
        return proportional(candidates, ranking, budget)
    share = (candidates.clusters.counts(candidates.eligible) * budget.ratio).astype(int)
    return np.minimum(share, np.diff(ranking.starts))


def in_band(ranked: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """The rows of `ranked`, int [n], highest score first, whose quantile is from `lower` to `upper`.

    The row with the k-th lowest score has the quantile (k - 0.5) / n.
    """
    quantile = (np.arange(len(ranked), 0, -1) - 0.5) / max(1, len(ranked))
    # Rounded, because e.g. 0.15 and 1.5 / 10 differ in the last bit.
    return ranked[(np.round(quantile - lower, 9) >= 0) & (np.round(quantile - upper, 9) <= 0)]


@strategy(
    "ifd-band",
    needs=("ifd", "cluster"),
    pool="eligible",
    allot=paper_quota,
    nested=True,
    reason="{score} is outside of the band of cluster {cluster}, or not drawn from it",
    settings=("by", "lower", "upper"),
)
def ifd_band(candidates: Candidates, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Random rows of each cluster whose IFD lies between two quantiles of the cluster's eligible rows.

    As many rows as "ifd-cluster" keeps, or the whole band if it has fewer. With upper=1 the band is the
    hardest rows, with lower=0 and upper=1 this is "cluster-random". Reported: the best band moves toward
    harder rows as the budget grows (arXiv 2605.12906).
    """
    groups = by_cluster(candidates)
    return [rng.permutation(in_band(group, candidates.lower, candidates.upper)) for group in groups]


@strategy(
    "cluster-random",
    needs=("ifd", "cluster"),
    pool="eligible",
    allot=paper_quota,
    nested=True,
    reason="not drawn in cluster {cluster}",
    settings=("by",),
)
def cluster_random(candidates: Candidates, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Random eligible rows of each cluster, as many as "ifd-cluster" keeps: what do clusters alone do?

    Differs from "ifd-cluster" in the ranking alone. Of random rows it is a stratified draw, so beside
    "random" it shows what the paper's quotas and its bound on IFD contribute.
    """
    return [rng.permutation(group) for group in by_cluster(candidates)]

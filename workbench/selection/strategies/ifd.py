"""Strategies by complexity: the paper's rule and its variants."""

import numpy as np

from ..candidates import Candidates
from ..ranking import quota
from ..registry import strategy


def hardest(score: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`rows` by `score`, float [n], highest first; ties keep the order of the dataset."""
    return rows[np.argsort(-score[rows], kind="stable")]


def by_cluster(candidates: Candidates) -> list[np.ndarray]:
    """The eligible rows of each cluster, highest score first."""
    clusters = candidates.clusters
    order = hardest(candidates.score, np.flatnonzero(candidates.eligible))
    order = order[np.argsort(clusters.codes[order], kind="stable")]
    sizes = clusters.counts(candidates.eligible)
    return [order[end - size : end] for size, end in zip(sizes, np.cumsum(sizes), strict=True)]


@strategy(
    "ifd-cluster",
    needs=("ifd", "cluster"),
    pool="eligible",
    nested=True,
    reason="{score} is below the cut of cluster {cluster}",
    settings=("by",),
)
def ifd_cluster(candidates: Candidates, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """In each cluster the `int(n * ratio)` eligible rows of highest IFD (arXiv 2504.12687, section 3)."""
    return by_cluster(candidates)


@strategy(
    "ifd-quota",
    needs=("ifd", "cluster"),
    pool="eligible",
    of_all=True,
    allot=quota,
    nested=True,
    reason="{score} is below the cut of cluster {cluster}",
    settings=("by",),
)
def ifd_quota(candidates: Candidates, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The rows of highest IFD in each cluster, the exact share of ALL rows; small clusters survive."""
    return by_cluster(candidates)


@strategy(
    "ifd-top",
    needs=("ifd",),
    pool="eligible",
    nested=True,
    reason="{score} is below the cut",
    settings=("by",),
)
def ifd_top(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """The eligible rows of highest IFD, whatever their cluster: complexity without consistency.

    The authors' follow-up reports this choice of 10,000 of 92,000 rows far below as many random rows.
    """
    return hardest(candidates.score, np.flatnonzero(candidates.eligible))


@strategy("ppl-top", needs=("ifd", "ppl_conditioned"), pool="eligible", nested=True)
def ppl_top(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """The eligible rows of highest perplexity given the instruction; noisy rows rank high too."""
    return hardest(candidates.column("ppl_conditioned"), np.flatnonzero(candidates.eligible))

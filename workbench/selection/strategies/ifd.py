"""Strategies by complexity: the paper's rule and its variants."""

import numpy as np

from ..candidates import Candidates
from ..ranking import quota
from ..registry import strategy


def hardest(ifd: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`rows` by IFD, highest first; ties keep the order of the dataset."""
    return rows[np.argsort(-ifd[rows], kind="stable")]


def by_cluster(candidates: Candidates) -> list[np.ndarray]:
    """The eligible rows of each cluster, highest IFD first."""
    clusters = candidates.clusters
    order = hardest(candidates.ifd, np.flatnonzero(candidates.eligible))
    order = order[np.argsort(clusters.codes[order], kind="stable")]
    sizes = clusters.counts(candidates.eligible)
    return [order[end - size : end] for size, end in zip(sizes, np.cumsum(sizes), strict=True)]


@strategy(
    "ifd-cluster",
    needs=("ifd", "cluster"),
    pool="eligible",
    nested=True,
    reason="IFD {ifd:.4f} is below the cut of cluster {cluster}",
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
    reason="IFD {ifd:.4f} is below the cut of cluster {cluster}",
)
def ifd_quota(candidates: Candidates, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The rows of highest IFD in each cluster, the exact share of ALL rows; small clusters survive."""
    return by_cluster(candidates)


@strategy("ifd-top", needs=("ifd",), pool="eligible", nested=True, reason="IFD {ifd:.4f} is below the cut")
def ifd_top(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """The eligible rows of highest IFD, whatever their cluster: complexity without consistency."""
    return hardest(candidates.ifd, np.flatnonzero(candidates.eligible))


@strategy("ppl-top", needs=("ifd", "ppl_conditioned"), pool="eligible", nested=True)
def ppl_top(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """The eligible rows of highest perplexity given the instruction; noisy rows rank high too."""
    return hardest(candidates.column("ppl_conditioned"), np.flatnonzero(candidates.eligible))

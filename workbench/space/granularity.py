"""How many clusters: evidence for a choice of k, on a seeded sample of the rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from numbers import Integral

import datasets
import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score, silhouette_score

from ..core import progress, tables
from ..core.errors import UserError
from .clustering import fit

_KS = (2, 5, 10, 15, 20, 30)
_SAMPLE, _PAIRED = 20_000, 5_000  # rows clustered; rows of the silhouette, quadratic in them
_SEEDS = 3
_STABLE = 0.8  # adjusted Rand index from which two clusterings count as the same one


@dataclass(frozen=True)
class ClusterCount:
    """A suggestion of k, why, and `table`: k, inertia, silhouette, stability (mean adjusted Rand index)."""

    k: int
    reason: str
    table: pd.DataFrame


def suggest_k(ds: datasets.Dataset, ks: Sequence[int] | None = None, *, seed: int = 42) -> ClusterCount:
    """The k of the highest silhouette among those that other seeds reproduce.

    `ks` defaults to those of 2, 5, 10, 15, 20 and 30 that lie below the number of different embeddings.
    Measured on at most 20,000 rows, the silhouette on at most 5,000. Tells how compact the clusters are,
    not which k trains the best model: the paper's k is 10.
    """
    vectors = tables.vectors(ds)
    rng = np.random.default_rng(seed)
    vectors = vectors[np.sort(rng.choice(len(ds), min(len(ds), _SAMPLE), replace=False))]
    ks = _tried(ks, len(np.unique(vectors, axis=0)))
    measured = []
    with progress.bar(len(ks), "suggest_k", "k") as bar:
        for k in ks:
            measured.append(_measure(vectors, k, seed))
            bar.update()
    table = pd.DataFrame(measured)
    return ClusterCount(*_choose(table), table)


def _tried(ks: Sequence[int] | None, distinct: int) -> list[int]:
    """The ks to try: each leaves fewer clusters than there are `distinct` embeddings."""
    if distinct <= 2:
        raise UserError(
            f"{distinct} different embeddings are too few to suggest a number of clusters; give 3 or more."
        )
    if ks is None:
        return [k for k in _KS if k < distinct]
    given = list(ks) if isinstance(ks, Iterable) else []
    whole = [k for k in given if isinstance(k, Integral) and 2 <= k < distinct]
    if not given or len(whole) < len(given):
        raise UserError(
            f"ks={ks!r} must be whole numbers from 2 to {distinct - 1}, below the {distinct} different "
            "embeddings."
        )
    return sorted({int(k) for k in whole})


def _measure(vectors: np.ndarray, k: int, seed: int) -> dict:
    fits = [fit(vectors, k, seed + i) for i in range(_SEEDS)]
    labels = [fitted.labels_ for fitted in fits]
    some = np.random.default_rng(seed).choice(len(vectors), min(len(vectors), _PAIRED), replace=False)
    several = len(np.unique(labels[0][some])) > 1  # the silhouette is not defined for one cluster
    return {
        "k": k,
        "inertia": float(fits[0].inertia_),
        "silhouette": float(silhouette_score(vectors[some], labels[0][some])) if several else np.nan,
        "stability": float(np.mean([adjusted_rand_score(a, b) for a, b in combinations(labels, 2)])),
    }


def _choose(table: pd.DataFrame) -> tuple[int, str]:
    stable = table[table["stability"] >= _STABLE]
    if stable["silhouette"].notna().any():
        best = stable.loc[stable["silhouette"].idxmax()]
        why = f"has the highest silhouette ({best.silhouette:.3f}) of those that other seeds reproduce"
    else:
        best = table.loc[table["stability"].idxmax()]
        why = "is the one that other seeds reproduce best, though none of those tried is stable"
    return int(best.k), f"k = {int(best.k)} {why} (adjusted Rand index {best.stability:.2f})."

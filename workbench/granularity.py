"""How many clusters: evidence for a choice of k, on a seeded sample of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import datasets
import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score, silhouette_score

from . import progress, tables
from .clustering import fit
from .errors import UserError, positive

_SAMPLE, _PAIRED = 20_000, 5_000  # rows clustered; rows of the silhouette, quadratic in them
_SEEDS = 3
_STABLE = 0.8  # adjusted Rand index from which two clusterings count as the same one


@dataclass(frozen=True)
class ClusterCount:
    """A suggestion of k, why, and `table`: k, inertia, silhouette, stability (mean adjusted Rand index)."""

    k: int
    reason: str
    table: pd.DataFrame


def suggest_k(
    ds: datasets.Dataset, ks: Sequence[int] = (2, 5, 10, 15, 20, 30), *, seed: int = 42
) -> ClusterCount:
    """The k of the highest silhouette among those that other seeds reproduce.

    Measured on at most 20,000 rows, the silhouette on at most 5,000. Tells how compact the clusters are,
    not which k trains the best model: the paper's k is 10.
    """
    tables.require(ds, ["embedding"], "wb.embed")
    for k in ks:
        positive("ks", k)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(ds), min(len(ds), _SAMPLE), replace=False))
    vectors = tables.array(ds, "embedding")[rows]
    distinct = len(np.unique(vectors, axis=0))
    if not ks or min(ks) < 2 or max(ks) >= distinct:
        raise UserError(
            f"ks={list(ks)} must lie between 2 and {distinct - 1}, below the distinct embeddings."
        )
    measured = []
    with progress.bar(len(ks), "suggest_k", "k") as bar:
        for k in ks:
            measured.append(_measure(vectors, k, seed))
            bar.update()
    table = pd.DataFrame(measured)
    return ClusterCount(*_choose(table), table)


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

"""How many clusters? Compactness and stability of K-Means for several k, on a sample of the rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from numbers import Integral

import datasets
import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score, silhouette_score

from ..core import progress, tables
from ..core.errors import UserError, derived_seed, seed_of
from .clustering import fit

_KS = (2, 5, 10, 15, 20, 30)
_SAMPLE, _PAIRED = 20_000, 5_000  # rows to cluster; rows for the silhouette, whose cost is quadratic
_SEEDS = 3  # clusterings per k
_STABLE = 0.8  # mean adjusted Rand index from which the clusterings of a k count as the same


@dataclass(frozen=True, eq=False)
class ClusterCount:
    """A suggested `k` and the `reason` for it, as one sentence.

    `table` has one line per k that was tried, with the columns `k`, `inertia` (sum of squared distances to
    the centres), `silhouette` (-1 to 1, higher is more compact; NaN if the sample falls into one cluster) and
    `stability` (mean adjusted Rand index between the clusterings of different seeds; 1 means identical).
    """

    k: int
    reason: str
    table: pd.DataFrame


def suggest_k(ds: datasets.Dataset, ks: Sequence[int] | None = None, *, seed: int = 42) -> ClusterCount:
    """Suggest a number of clusters: the k with the highest silhouette among those stable across seeds.

    Clusters with three seeds per k, on at most 20,000 rows (5,000 for the silhouette), drawn with `seed`. A k
    is stable if the mean adjusted Rand index between its clusterings is at least 0.8; if none is, the most
    stable k is suggested.

    `ks` are the numbers to try, by default those of 2, 5, 10, 15, 20 and 30 that are below the number of
    distinct embeddings. Returns a `ClusterCount`. Raises UserError if `ks` is invalid, if there are fewer
    than 3 distinct embeddings, or if the table has no `embedding`.

    This measures how compact the clusters are, not which k trains the best model: arXiv 2504.12687 uses 10.
    """
    seed = seed_of(seed)
    vectors = tables.vectors(ds)
    rng = np.random.default_rng(seed)
    vectors = vectors[np.sort(rng.choice(len(ds), min(len(ds), _SAMPLE), replace=False))]
    ks = _valid(ks, len(np.unique(vectors, axis=0)))
    lines = []
    with progress.bar(len(ks), "suggest_k", "k") as bar:
        for k in ks:
            lines.append(_measure(vectors, k, seed))
            bar.update()
    table = pd.DataFrame(lines)
    return ClusterCount(*_choose(table), table)


def _valid(ks: Sequence[int] | None, distinct: int) -> list[int]:
    """The sorted ks to try, each below the number of `distinct` embeddings; raises UserError if invalid."""
    if distinct <= 2:
        raise UserError(
            f"{distinct} distinct embeddings are too few to suggest a number of clusters; give 3 or more."
        )
    if ks is None:
        return [k for k in _KS if k < distinct]
    candidates = list(ks) if isinstance(ks, Iterable) else []
    valid = [k for k in candidates if isinstance(k, Integral) and 2 <= k < distinct]
    if not candidates or len(valid) < len(candidates):
        raise UserError(
            f"ks={ks!r} must be whole numbers from 2 to {distinct - 1}, below the {distinct} distinct "
            "embeddings."
        )
    return sorted({int(k) for k in valid})


def _measure(vectors: np.ndarray, k: int, seed: int) -> dict:
    fits = [fit(vectors, k, derived_seed(seed, i)) for i in range(_SEEDS)]
    labels = [fitted.labels_ for fitted in fits]
    sample = np.random.default_rng(seed).choice(len(vectors), min(len(vectors), _PAIRED), replace=False)
    several = len(np.unique(labels[0][sample])) > 1  # the silhouette is undefined for a single cluster
    return {
        "k": k,
        "inertia": float(fits[0].inertia_),
        "silhouette": float(silhouette_score(vectors[sample], labels[0][sample])) if several else np.nan,
        "stability": float(np.mean([adjusted_rand_score(a, b) for a, b in combinations(labels, 2)])),
    }


def _choose(table: pd.DataFrame) -> tuple[int, str]:
    stable = table[table["stability"] >= _STABLE]
    if stable["silhouette"].notna().any():
        best = stable.loc[stable["silhouette"].idxmax()]
        reason = f"has the highest silhouette ({best.silhouette:.3f}) among those stable across seeds"
    else:
        best = table.loc[table["stability"].idxmax()]
        reason = "is the most stable across seeds, although none of those tried is stable"
    return int(best.k), f"k = {int(best.k)} {reason} (adjusted Rand index {best.stability:.2f})."

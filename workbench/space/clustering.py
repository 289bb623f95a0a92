"""Embeddings -> cluster labels: K-Means, as in arXiv 2504.12687, section 3 (k = 10, random_state = 42)."""

import datasets
import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans

from ..core import progress, tables
from ..core.errors import UserError, positive

MINIBATCH_FROM = 200_000  # rows beyond which MiniBatchKMeans takes over
_BATCH = 16_384  # rows of a mini-batch


def cluster(ds: datasets.Dataset, k: int = 10, *, seed: int = 42) -> datasets.Dataset:
    """Add `cluster`, an int in [0, k). Deterministic under `seed`; labels carry no order.

    K-Means with scikit-learn's defaults up to `MINIBATCH_FROM` rows, MiniBatchKMeans beyond (announced).
    Method, k, seed and inertia (sum of squared distances) are noted: `tables.noted(ds, "cluster")`.
    """
    vectors = tables.vectors(ds)
    positive("k", k)
    if k > len(ds):
        raise UserError(f"k={k} is more than the {len(ds)} rows; give at most one cluster a row.")
    if len(ds) > MINIBATCH_FROM:
        progress.say(f"{len(ds):,} rows are clustered in mini-batches (beyond {MINIBATCH_FROM:,}).")
    fitted = fit(vectors, k, seed)
    ds = tables.with_columns(ds, {"cluster": fitted.labels_}, {"cluster": tables.INT})
    made = {"method": type(fitted).__name__, "k": k, "seed": seed, "inertia": float(fitted.inertia_)}
    return tables.note(ds, "cluster", made)


def fit(vectors: np.ndarray, k: int, seed: int) -> KMeans | MiniBatchKMeans:
    """The fitted clustering of `vectors` [n, d]."""
    if len(vectors) <= MINIBATCH_FROM:
        return KMeans(n_clusters=k, random_state=seed).fit(vectors)
    return MiniBatchKMeans(n_clusters=k, random_state=seed, batch_size=_BATCH).fit(vectors)

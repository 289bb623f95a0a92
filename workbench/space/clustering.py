"""K-Means on instruction embeddings (arXiv 2504.12687, section 3: k = 10, random_state = 42)."""

import datasets
import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans

from ..core import progress, tables
from ..core.errors import UserError, positive, seed_of

MINIBATCH_FROM = 200_000  # rows; larger tables are clustered with MiniBatchKMeans
_BATCH = 16_384  # rows per mini-batch


def cluster(ds: datasets.Dataset, k: int = 10, *, seed: int = 42) -> datasets.Dataset:
    """Cluster the rows by their embeddings and add `cluster`, an int64 label from 0 to k - 1.

    K-Means with scikit-learn's defaults, as in section 3 of arXiv 2504.12687 (k = 10, seed 42). Above
    200,000 rows MiniBatchKMeans replaces it, with a message. The same `seed` gives the same labels; their
    order has no meaning. `wb.suggest_k` helps to choose `k`, `wb.cluster_names` to read the clusters.

    Returns the table with `cluster` added. The method, k, seed and inertia (sum of squared distances to the
    centres) are in `tables.noted(ds, "cluster")`.

    Raises UserError if the table has no valid `embedding` column (add it with `wb.embed`), or if `k` is not a
    whole number from 1 to the number of rows, or if `seed` is negative.
    """
    seed = seed_of(seed)
    vectors = tables.vectors(ds)
    positive("k", k)
    k = int(k)
    if k > len(ds):
        raise UserError(f"k={k} is more than the {len(ds)} rows; give at most one cluster per row.")
    if len(ds) > MINIBATCH_FROM:
        progress.say(f"Clustering {len(ds):,} rows in mini-batches (used above {MINIBATCH_FROM:,} rows).")
    fitted = fit(vectors, k, seed)
    ds = tables.with_columns(ds, {"cluster": fitted.labels_}, {"cluster": tables.INT})
    settings = {"method": type(fitted).__name__, "k": k, "seed": seed, "inertia": float(fitted.inertia_)}
    return tables.note(ds, "cluster", settings)


def fit(vectors: np.ndarray, k: int, seed: int) -> KMeans | MiniBatchKMeans:
    """The clustering fitted to `vectors`, float32 [n, d]."""
    if len(vectors) <= MINIBATCH_FROM:
        return KMeans(n_clusters=k, random_state=seed).fit(vectors)
    return MiniBatchKMeans(n_clusters=k, random_state=seed, batch_size=_BATCH).fit(vectors)

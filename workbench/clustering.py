"""Embeddings -> cluster labels: K-Means, as in arXiv 2504.12687, section 3 (k = 10, random_state = 42)."""

import datasets
from sklearn.cluster import KMeans

from . import tables
from .errors import UserError, positive


def cluster(ds: datasets.Dataset, k: int = 10, *, seed: int = 42) -> datasets.Dataset:
    """Add `cluster`, an int in [0, k). Deterministic under `seed`; labels carry no order."""
    tables.require(ds, ["embedding"], "wb.embed")
    positive("k", k)
    if k > len(ds):
        raise UserError(f"k={k} is more than the {len(ds)} rows; give at most one cluster a row.")
    labels = KMeans(n_clusters=k, random_state=seed).fit_predict(tables.array(ds, "embedding"))
    return tables.with_columns(ds, {"cluster": labels}, {"cluster": tables.INT})

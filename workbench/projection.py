"""Embeddings -> two coordinates to look at (UMAP).

Distances on the map are illustrative: every number comes from the embedding space.
"""

from importlib.metadata import version

import datasets
import numpy as np

from . import progress, tables
from .errors import UserError
from .store import Store, digest

_FEWEST = 5  # rows from which UMAP can lay out anything


def project(
    ds: datasets.Dataset, *, seed: int = 42, n_neighbors: int = 15, min_dist: float = 0.1, cache: bool = True
) -> datasets.Dataset:
    """Add `x` and `y`, float32. Kept in the store by embeddings, settings and UMAP's version."""
    tables.require(ds, ["embedding"], "wb.embed")
    if len(ds) < _FEWEST:
        raise UserError(f"a map needs at least {_FEWEST} rows; the dataset has {len(ds)}.")
    vectors = np.ascontiguousarray(tables.array(ds, "embedding"))
    settings = {
        "n_neighbors": min(n_neighbors, len(ds) - 1),
        "min_dist": min_dist,
        "metric": "cosine",
        "random_state": seed,
    }
    store = Store("projection")
    key = digest(settings, version("umap-learn"), list(vectors.shape), vectors.tobytes())
    stored = store.get([key]).get(key) if cache else None
    if stored is None:
        progress.say(f"Laying out {len(ds):,} rows with UMAP; its first use compiles for up to a minute ...")
        points = _umap(vectors, settings)
        if cache:
            store.put({key: points.tobytes()})
    else:
        points = np.frombuffer(stored, np.float32).reshape(-1, 2)
    columns = {"x": points[:, 0], "y": points[:, 1]}
    return tables.with_columns(ds, columns, {"x": tables.FLOAT32, "y": tables.FLOAT32})


def _umap(vectors: np.ndarray, settings: dict) -> np.ndarray:
    from umap import UMAP  # compiles for half a minute: only when a map is wanted

    # Spectral initialisation has no solution for a handful of rows.
    start = "spectral" if len(vectors) > 10 else "random"
    layout = UMAP(**settings, init=start, n_jobs=1)  # a seeded layout runs on one thread anyway
    return layout.fit_transform(vectors).astype(np.float32)

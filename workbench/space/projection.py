"""Embeddings -> two coordinates to look at (UMAP).

Distances on the map are illustrative: every number comes from the embedding space. Beyond `LIMIT` rows the
layout is fitted on a seeded sample of `SAMPLE` rows, stratified by cluster, and every other row is placed at
the median of its nearest sampled ones. UMAP's own `transform` looks for these approximately: on 24,000 rows
around 200 centres it found 73 % of them, and then a third of the placed rows' neighbours on the map were
strangers (`tests/benchmarks/projection.py`).
"""

import hashlib
from importlib.metadata import version

import datasets
import numpy as np
from sklearn.neighbors import NearestNeighbors

from ..core import progress, tables
from ..core.errors import UserError
from ..core.store import Store, digest

LIMIT, SAMPLE = 100_000, 50_000  # rows: fitted whole up to; fitted on beyond
_ROUND = 10_000  # rows placed between two steps of the progress bar
_PLACED_BY = "median of nearest"  # a part of the stored results' key
_FEWEST = 5  # rows from which UMAP can lay out anything


def project(
    ds: datasets.Dataset, *, seed: int = 42, n_neighbors: int = 15, min_dist: float = 0.1, cache: bool = True
) -> datasets.Dataset:
    """Add `x` and `y`, float32. Kept in the store by embeddings, settings, sample and UMAP's version.

    Seed, version, rows and rows fitted on are noted: `tables.noted(ds, "projection")`.
    """
    vectors = np.ascontiguousarray(tables.vectors(ds))
    if len(ds) < _FEWEST:
        raise UserError(f"a map needs at least {_FEWEST} rows; the dataset has {len(ds)}.")
    fitted = _sample(ds, seed)
    settings = {
        "n_neighbors": min(n_neighbors, len(fitted) - 1),
        "min_dist": min_dist,
        "metric": "cosine",
        "random_state": seed,
    }
    store = Store("projection")
    content = [hashlib.blake2b(data).hexdigest() for data in (vectors, fitted)]  # no copy of either
    key = digest(settings, version("umap-learn"), list(vectors.shape), content, _PLACED_BY)
    stored = store.get([key]).get(key) if cache else None
    if stored is None:
        progress.say(f"Laying out {len(ds):,} rows with UMAP; its first use compiles for up to a minute ...")
        points = np.empty((len(ds), 2), np.float32)
        points[fitted] = _umap(vectors[fitted], settings)
        if len(fitted) < len(ds):
            progress.say(f"The layout is fitted on {len(fitted):,} of them; the others are placed into it.")
            _place(vectors, fitted, points, settings["n_neighbors"])
        if cache:
            store.put({key: points.tobytes()})
    else:
        points = np.frombuffer(stored, np.float32).reshape(-1, 2)
    columns = {"x": points[:, 0], "y": points[:, 1]}
    ds = tables.with_columns(ds, columns, {"x": tables.FLOAT32, "y": tables.FLOAT32})
    made = {"seed": seed, "umap": version("umap-learn"), "rows": len(ds), "fitted_rows": len(fitted)}
    return tables.note(ds, "projection", made)


def _sample(ds: datasets.Dataset, seed: int) -> np.ndarray:
    """Rows to fit on, ascending: all up to `LIMIT`, else about `SAMPLE`, each cluster by its share."""
    if len(ds) <= LIMIT:
        return np.arange(len(ds))
    rng = np.random.default_rng(seed)
    labels = tables.array(ds, "cluster") if "cluster" in ds.column_names else np.zeros(len(ds), int)
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        share = max(1, round(SAMPLE * len(rows) / len(ds)))  # a small cluster keeps a place on the map
        chosen.append(rng.choice(rows, share, replace=False))
    return np.sort(np.concatenate(chosen))


def _place(vectors: np.ndarray, fitted: np.ndarray, points: np.ndarray, n_neighbors: int) -> None:
    """Fill `points` [n, 2], of which `fitted` are laid out: each other row at the median of its nearest ones.

    The median, unlike the mean, leaves no row in the void between two clusters. O(n * fitted * d).
    """
    # On unit vectors the nearest by Euclidean distance are those by cosine.
    index = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(vectors[fitted])
    layout = points[fitted]
    rest = np.setdiff1d(np.arange(len(vectors)), fitted, assume_unique=True)
    with progress.bar(len(rest), "place") as bar:
        for start in range(0, len(rest), _ROUND):
            some = rest[start : start + _ROUND]
            near = index.kneighbors(vectors[some], return_distance=False)
            points[some] = np.median(layout[near], axis=1)
            bar.update(len(some))


def _umap(vectors: np.ndarray, settings: dict) -> np.ndarray:
    from umap import UMAP  # compiles for half a minute: only when a map is wanted

    # Spectral initialisation has no solution for a handful of rows; a seed means one thread anyway.
    layout = UMAP(**settings, init="spectral" if len(vectors) > 10 else "random", n_jobs=1)
    return layout.fit_transform(vectors).astype(np.float32)

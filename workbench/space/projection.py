"""A two-dimensional map of the embeddings (UMAP).

Distances on the map are illustrative; every metric is computed in the embedding space. Above `LIMIT` rows the
layout is fitted on a sample of `SAMPLE` rows, stratified by cluster, and every other row is placed at the
median of its nearest sampled rows. UMAP's own `transform` searches them approximately: on 24,000 rows around
200 centres its recall was 73 %, and a third of the placed rows' neighbours on the map then belonged to other
centres (`tests/benchmarks/projection.py`).
"""

import hashlib
from importlib.metadata import version

import datasets
import numpy as np
from sklearn.neighbors import NearestNeighbors

from ..core import progress, tables
from ..core.errors import UserError, seed_of
from ..core.store import Store, digest

LIMIT = 100_000  # rows; larger tables are fitted on a sample
SAMPLE = 50_000  # rows of that sample
_ROUND = 10_000  # rows placed per step of the progress bar
_PLACED_BY = "median of nearest"  # part of the cache key
_FEWEST = 5  # rows that UMAP needs at least


def project(
    ds: datasets.Dataset, *, seed: int = 42, n_neighbors: int = 15, min_dist: float = 0.1, cache: bool = True
) -> datasets.Dataset:
    """Project the embeddings to two dimensions with UMAP and add `x` and `y`, float32.

    The map is for looking at: distances on it are illustrative, and no metric of this package uses it.

    Parameters
    ----------
    seed
        Seed of UMAP and of the sample. The same seed, UMAP version and machine give the same map.
    n_neighbors, min_dist
        UMAP's parameters: the size of the neighbourhood to preserve (rows) and how tightly points may be
        packed. The metric is the cosine distance.
    cache
        Read and write layouts under `$WORKBENCH_CACHE`, keyed by the embeddings, settings, sample and UMAP's
        version.

    Above 100,000 rows the layout is fitted on about 50,000 rows, stratified by `cluster` if present, and the
    others are placed at the median of their nearest fitted rows.

    Returns the table with `x` and `y` added. The seed, UMAP's version and the numbers of rows and fitted rows
    are in `tables.noted(ds, "projection")`. Raises UserError for fewer than 5 rows or without a valid
    `embedding`.
    """
    seed = seed_of(seed)
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
    content = [hashlib.blake2b(data).hexdigest() for data in (vectors, fitted)]  # hashed in place
    key = digest(settings, version("umap-learn"), list(vectors.shape), content, _PLACED_BY)
    stored = store.get([key]).get(key) if cache else None
    if stored is None:
        progress.say(f"Laying out {len(ds):,} rows with UMAP; the first use compiles for up to a minute ...")
        points = np.empty((len(ds), 2), np.float32)
        points[fitted] = _umap(vectors[fitted], settings)
        if len(fitted) < len(ds):
            progress.say(f"The layout is fitted on {len(fitted):,} rows; placing the others ...")
            _place(vectors, fitted, points, settings["n_neighbors"])
        if cache:
            store.put({key: points.tobytes()})
    else:
        points = np.frombuffer(stored, np.float32).reshape(-1, 2)
    columns = {"x": points[:, 0], "y": points[:, 1]}
    ds = tables.with_columns(ds, columns, {"x": tables.FLOAT32, "y": tables.FLOAT32})
    summary = {"seed": seed, "umap": version("umap-learn"), "rows": len(ds), "fitted_rows": len(fitted)}
    return tables.note(ds, "projection", summary)


def _sample(ds: datasets.Dataset, seed: int) -> np.ndarray:
    """Ascending indices of the rows to fit: all up to `LIMIT`, else about `SAMPLE`, stratified by cluster."""
    if len(ds) <= LIMIT:
        return np.arange(len(ds))
    rng = np.random.default_rng(seed)
    labels = tables.array(ds, "cluster") if "cluster" in ds.column_names else np.zeros(len(ds), int)
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        share = max(1, round(SAMPLE * len(rows) / len(ds)))  # at least one row per cluster
        chosen.append(rng.choice(rows, share, replace=False))
    return np.sort(np.concatenate(chosen))


def _place(vectors: np.ndarray, fitted: np.ndarray, points: np.ndarray, n_neighbors: int) -> None:
    """Fill in `points` [n, 2], whose `fitted` rows are set: the others go to the median of their nearest.

    The median, unlike the mean, puts no row into the void between two clusters. Takes O(n * fitted * d).
    """
    # For unit vectors, Euclidean and cosine distance give the same nearest neighbours.
    index = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(vectors[fitted])
    layout = points[fitted]
    rest = np.setdiff1d(np.arange(len(vectors)), fitted, assume_unique=True)
    with progress.bar(len(rest), "place") as bar:
        for start in range(0, len(rest), _ROUND):
            batch = rest[start : start + _ROUND]
            near = index.kneighbors(vectors[batch], return_distance=False)
            points[batch] = np.median(layout[near], axis=1)
            bar.update(len(batch))


def _umap(vectors: np.ndarray, settings: dict) -> np.ndarray:
    from umap import UMAP  # a slow import: it compiles for half a minute

    # Spectral initialization fails for a handful of rows. With a seed, UMAP uses one thread anyway.
    layout = UMAP(**settings, init="spectral" if len(vectors) > 10 else "random", n_jobs=1)
    return layout.fit_transform(vectors).astype(np.float32)

"""Embeddings -> two coordinates to look at (UMAP).

Distances on the map are illustrative: every number comes from the embedding space. Beyond `LIMIT` rows the
layout is fitted on a seeded sample of `SAMPLE` rows, stratified by cluster, and the rest is placed into it.
"""

import hashlib
from importlib.metadata import version

import datasets
import numpy as np

from . import progress, tables
from .errors import UserError
from .store import Store, digest

LIMIT, SAMPLE = 100_000, 50_000  # rows: fitted whole up to; fitted on beyond
_ROUND = 10_000  # rows placed at once: bounds the memory of a transform
_FEWEST = 5  # rows from which UMAP can lay out anything


def project(
    ds: datasets.Dataset, *, seed: int = 42, n_neighbors: int = 15, min_dist: float = 0.1, cache: bool = True
) -> datasets.Dataset:
    """Add `x` and `y`, float32. Kept in the store by embeddings, settings, sample and UMAP's version.

    Seed, version, rows and rows fitted on are noted: `tables.noted(ds, "projection")`.
    """
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
    fitted = _sample(ds, seed)
    store = Store("projection")
    content = [hashlib.blake2b(data).hexdigest() for data in (vectors, fitted)]  # no copy of either
    key = digest(settings, version("umap-learn"), list(vectors.shape), content)
    stored = store.get([key]).get(key) if cache else None
    if stored is None:
        progress.say(f"Laying out {len(ds):,} rows with UMAP; its first use compiles for up to a minute ...")
        points = _umap(vectors, settings) if len(fitted) == len(ds) else _place(vectors, fitted, settings)
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


def _place(vectors: np.ndarray, fitted: np.ndarray, settings: dict) -> np.ndarray:
    """Coordinates [n, 2]: a layout of the `fitted` rows, into which the others are placed in rounds."""
    progress.say(f"The layout is fitted on {len(fitted):,} of them; the others are placed into it.")
    layout = _layout(len(fitted), settings).fit(vectors[fitted])
    points = np.empty((len(vectors), 2), np.float32)
    points[fitted] = layout.embedding_
    rest = np.setdiff1d(np.arange(len(vectors)), fitted, assume_unique=True)
    with progress.bar(len(rest), "place") as bar:
        for start in range(0, len(rest), _ROUND):
            some = rest[start : start + _ROUND]
            points[some] = layout.transform(vectors[some])
            bar.update(len(some))
    return points


def _umap(vectors: np.ndarray, settings: dict) -> np.ndarray:
    return _layout(len(vectors), settings).fit_transform(vectors).astype(np.float32)


def _layout(n: int, settings: dict):
    from umap import UMAP  # compiles for half a minute: only when a map is wanted

    # Spectral initialisation has no solution for a handful of rows; a seed means one thread anyway.
    return UMAP(**settings, init="spectral" if n > 10 else "random", n_jobs=1)

"""Time, peak memory and faithfulness of a map of many rows that is fitted on a sample.

    python tests/benchmarks/projection.py [rows]               # default: 110000
    python tests/benchmarks/projection.py peer [rows]          # default: 24000; against UMAP's transform

The rows are synthetic unit vectors of 384 dimensions around 200 centres of unequal size. As in real
embeddings, they differ from their centre mainly in a few directions (16 per centre) and slightly in all.
Faithfulness is the fraction of a row's ten nearest neighbours on the map that share its centre, for fitted
and for placed rows.
"""

import re
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from sklearn.neighbors import NearestNeighbors

from workbench.core import tables
from workbench.space import projection
from workbench.space.clustering import cluster
from workbench.space.projection import project

D, CENTRES, DIRECTIONS, NEIGHBOURS = 384, 200, 16, 10


def vectors(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, float32 [n, D], and the centre of each, int64 [n]."""
    unit = np.float32(1 / np.sqrt(D))  # vectors of about unit length
    centres = rng.standard_normal((CENTRES, D), np.float32) * unit
    label = rng.choice(CENTRES, n, p=rng.dirichlet(np.ones(CENTRES)))
    rows = 0.2 * unit * rng.standard_normal((n, D), np.float32) + centres[label]
    for centre in range(CENTRES):
        own = np.flatnonzero(label == centre)
        directions = rng.standard_normal((DIRECTIONS, D), np.float32) * unit
        rows[own] += (
            rng.standard_normal((len(own), DIRECTIONS), np.float32) @ directions / np.sqrt(DIRECTIONS)
        )
    rows = rows.astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), label


def of_own_centre(points: np.ndarray, label: np.ndarray, rows: np.ndarray) -> float:
    """Fraction of the nearest neighbours on the map that have the label of the row."""
    index = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(points)
    near = index.kneighbors(points[rows], return_distance=False)[:, 1:]
    return float((label[near] == label[rows, None]).mean())


def peak() -> float:
    """Peak memory of this process in GiB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 2**20


def report(points: np.ndarray, label: np.ndarray, fitted: np.ndarray) -> None:
    placed = np.setdiff1d(np.arange(len(points)), fitted)
    for name, rows in (("fitted", fitted), ("placed", placed)):
        if len(rows):
            sample = np.random.default_rng(0).choice(rows, min(len(rows), 5000), replace=False)
            share = of_own_centre(points, label, sample)
            print(f"  {name} {len(rows):8,} rows: {share:.1%} of neighbours on the map share the centre")


def whole(n: int) -> None:
    """Measure `wb.project` on n rows."""
    embeddings, label = vectors(n, np.random.default_rng(0))
    column = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), D)
    ds = cluster(datasets.Dataset(pa.table({"embedding": column})))
    print(f"{n:,} rows x {D}: {4 * D * n / 2**30:.2f} GiB of embeddings; start {peak():.2f} GiB", flush=True)
    start = time.perf_counter()
    ds = project(ds, cache=False)
    print(f"map {time.perf_counter() - start:.0f} s, peak {peak():.2f} GiB; {tables.noted(ds, 'projection')}")
    points = np.stack([tables.array(ds, "x"), tables.array(ds, "y")], axis=1)
    report(points, label, projection._sample(ds, seed=42))


def peer(n: int) -> None:
    """Fit half of n rows and place the others into that layout, with UMAP's transform and with ours."""
    from umap import UMAP

    embeddings, label = vectors(n, np.random.default_rng(0))
    fitted, rest = np.arange(n // 2), np.arange(n // 2, n)
    settings = {"n_neighbors": 15, "min_dist": 0.1, "metric": "cosine", "random_state": 42}
    layout = UMAP(**settings, n_jobs=1).fit(embeddings[fitted])
    layout.transform(embeddings[rest[:100]])  # compiles
    start = time.perf_counter()
    theirs = np.concatenate([layout.embedding_, layout.transform(embeddings[rest])])
    print(f"UMAP's transform {time.perf_counter() - start:.1f} s")
    report(theirs, label, fitted)
    points = np.concatenate([layout.embedding_, np.zeros((len(rest), 2), np.float32)])
    start = time.perf_counter()
    projection._place(embeddings, fitted, points, settings["n_neighbors"])
    print(f"median of the nearest {time.perf_counter() - start:.1f} s")
    report(points, label, fitted)


def main() -> None:
    verb, *rest = [*sys.argv[1:], ""]
    if verb == "peer":
        peer(int(rest[0] or 24_000))
    else:
        whole(int(verb or 110_000))


if __name__ == "__main__":
    main()

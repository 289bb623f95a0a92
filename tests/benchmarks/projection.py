"""Time and peak memory of a map of many rows, fitted on a sample, and how faithful the placed rows are.

    python tests/benchmarks/projection.py [rows]               # default: 110000
    python tests/benchmarks/projection.py peer [rows]          # default: 24000; beside UMAP's own transform

Synthetic unit vectors of 384 dimensions around 200 centres of unequal size; as in real embeddings, rows
differ from their centre in a few directions, 16 of their own, and a little in all. Faithful: the share of a
row's ten nearest neighbours on the map that are of its own centre, for fitted rows and for placed ones.
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
    """[n, D] float32 of unit length, and the centre of each."""
    unit = np.float32(1 / np.sqrt(D))  # vectors of about unit length
    centres = rng.standard_normal((CENTRES, D), np.float32) * unit
    label = rng.choice(CENTRES, n, p=rng.dirichlet(np.ones(CENTRES)))
    found = 0.2 * unit * rng.standard_normal((n, D), np.float32) + centres[label]
    for centre in range(CENTRES):
        own = np.flatnonzero(label == centre)
        directions = rng.standard_normal((DIRECTIONS, D), np.float32) * unit
        found[own] += (
            rng.standard_normal((len(own), DIRECTIONS), np.float32) @ directions / np.sqrt(DIRECTIONS)
        )
    found = found.astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True), label


def of_own_centre(points: np.ndarray, label: np.ndarray, rows: np.ndarray) -> float:
    """Share of the nearest neighbours on the map that have the label of the row itself."""
    index = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(points)
    near = index.kneighbors(points[rows], return_distance=False)[:, 1:]
    return float((label[near] == label[rows, None]).mean())


def peak() -> float:
    """GiB of memory that this process held at most (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 2**20


def tell(points: np.ndarray, label: np.ndarray, fitted: np.ndarray) -> None:
    placed = np.setdiff1d(np.arange(len(points)), fitted)
    for name, rows in (("fitted", fitted), ("placed", placed)):
        if len(rows):
            some = np.random.default_rng(0).choice(rows, min(len(rows), 5000), replace=False)
            share = of_own_centre(points, label, some)
            print(f"  {name} {len(rows):8,} rows: {share:.1%} of neighbours on the map share the centre")


def whole(n: int) -> None:
    """`wb.project` of n rows."""
    found, label = vectors(n, np.random.default_rng(0))
    column = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), D)
    ds = cluster(datasets.Dataset(pa.table({"embedding": column})))
    print(f"{n:,} rows x {D}: {4 * D * n / 2**30:.2f} GiB of embeddings; start {peak():.2f} GiB", flush=True)
    start = time.perf_counter()
    ds = project(ds, cache=False)
    print(f"map {time.perf_counter() - start:.0f} s, peak {peak():.2f} GiB; {tables.noted(ds, 'projection')}")
    points = np.stack([tables.array(ds, "x"), tables.array(ds, "y")], axis=1)
    tell(points, label, projection._sample(ds, seed=42))


def peer(n: int) -> None:
    """Half of n rows fitted, the others placed by UMAP's transform and by ours, into the same layout."""
    from umap import UMAP

    found, label = vectors(n, np.random.default_rng(0))
    fitted, rest = np.arange(n // 2), np.arange(n // 2, n)
    settings = {"n_neighbors": 15, "min_dist": 0.1, "metric": "cosine", "random_state": 42}
    layout = UMAP(**settings, n_jobs=1).fit(found[fitted])
    layout.transform(found[rest[:100]])  # compiles
    start = time.perf_counter()
    theirs = np.concatenate([layout.embedding_, layout.transform(found[rest])])
    print(f"UMAP's transform {time.perf_counter() - start:.1f} s")
    tell(theirs, label, fitted)
    points = np.concatenate([layout.embedding_, np.zeros((len(rest), 2), np.float32)])
    start = time.perf_counter()
    projection._place(found, fitted, points, settings["n_neighbors"])
    print(f"median of the nearest {time.perf_counter() - start:.1f} s")
    tell(points, label, fitted)


def main() -> None:
    verb, *rest = [*sys.argv[1:], ""]
    if verb == "peer":
        peer(int(rest[0] or 24_000))
    else:
        whole(int(verb or 110_000))


if __name__ == "__main__":
    main()

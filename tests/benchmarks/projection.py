"""Time and peak memory of a map of many rows, fitted on a sample, and how faithful the placed rows are.

    python tests/benchmarks/projection.py [rows]               # default: 110000

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

from workbench import tables
from workbench.clustering import cluster
from workbench.projection import _sample, project

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


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 110_000
    rng = np.random.default_rng(0)
    found, label = vectors(n, rng)
    column = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), D)
    ds = cluster(datasets.Dataset(pa.table({"embedding": column})))
    print(f"{n:,} rows x {D}: {4 * D * n / 2**30:.2f} GiB of embeddings; start {peak():.2f} GiB", flush=True)
    start = time.perf_counter()
    ds = project(ds, cache=False)
    print(f"map {time.perf_counter() - start:.0f} s, peak {peak():.2f} GiB; {tables.noted(ds, 'projection')}")
    points = np.stack([tables.array(ds, "x"), tables.array(ds, "y")], axis=1)
    fitted = _sample(ds, 42)
    placed = np.setdiff1d(np.arange(n), fitted)
    for name, rows in (("fitted", fitted), ("placed", placed)):
        if len(rows):
            some = rng.choice(rows, min(len(rows), 5000), replace=False)
            share = of_own_centre(points, label, some)
            print(f"{name:7} {len(rows):8,} rows: {share:.1%} of neighbours on the map share the centre")


if __name__ == "__main__":
    main()

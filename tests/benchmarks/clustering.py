"""Time and peak memory of clustering synthetic embeddings of 768 dimensions.

python tests/benchmarks/clustering.py ROWS
"""

import re
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from workbench.space.clustering import cluster

D, BLOBS = 768, 30


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 75_000
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((BLOBS, D), np.float32)
    vectors = rng.standard_normal((n, D), np.float32)
    for start in range(0, n, 10_000):
        part = vectors[start : start + 10_000]
        part += centres[rng.integers(BLOBS, size=len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), D)
    ds = datasets.Dataset(pa.table({"embedding": column}))
    before, start = _peak(), time.perf_counter()
    cluster(ds)
    took = time.perf_counter() - start
    print(
        f"{n:,} x {D}: {took:.1f} s, peak {_peak():.2f} GiB, {_peak() - before:.2f} GiB above the embeddings'"
    )


def _peak() -> float:
    """Peak memory of this process in GiB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 2**20


if __name__ == "__main__":
    main()

"""Small sweeps of a toy model for tests."""

import datasets
import numpy as np
from conftest import table
from trainings import WORDS

from workbench.core import tables

N = 40
FAST = {"dtype": "float32", "device": "cpu", "max_length": 128, "learning_rate": 1e-2, "batch_size": 4}
DESIGN = {"ratios": (0.4, 1.0), "strategies": ("ifd-cluster",), "seeds": 3}  # 9 cells, and 3 on all rows


def rows(n: int = N, start: int = 0) -> datasets.Dataset:
    """A table of `n` rows with scores, clusters and lengths, as a pool or held-out rows."""
    numbers = range(start, start + n)
    ds = table(
        [f"Write number {i}: {' '.join(WORDS[: i % 5 + 1])}." for i in numbers],
        [f"def f{i}({WORDS[i % 12]}):\n    return {' + '.join(WORDS[: 1 + 7 * i % 6])}" for i in numbers],
    )
    rng = np.random.default_rng(start)
    ifd = rng.uniform(0.2, 0.9, n)
    columns = {
        "id": [f"row-{i}" for i in numbers],
        "ifd": ifd.tolist(),
        "cluster": [i % 3 for i in range(n)],
        "n_tokens": (20 + 100 * ifd).astype(int).tolist(),  # hard rows are long
    }
    features = {"id": tables.TEXT, "ifd": tables.FLOAT, "cluster": tables.INT, "n_tokens": tables.INT}
    return tables.with_columns(ds, columns, features)

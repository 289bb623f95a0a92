"""Measure the recall of planted near-duplicates by text similarity, and the time.

    python tests/benchmarks/duplicates.py [rows]               # default: 75000

The rows are synthetic, with 150 words each. A tenth of them are copies of others with 0 to 9 words changed.
"""

import sys
import time

import datasets
import numpy as np
import pandas as pd

from workbench.cleaning.duplicates import THRESHOLDS, jaccard, mark_duplicates, shingles

WORDS, VOCABULARY = 150, 20_000


def texts(n: int, rng: np.random.Generator) -> list[str]:
    """Return `n` texts; the last tenth are copies of the first ones with 0 to 9 words changed."""
    originals = [[f"w{word}" for word in rng.zipf(1.3, WORDS) % VOCABULARY] for _ in range(n - n // 10)]
    copies = [list(original) for original in originals[: n // 10]]
    for at, copy in enumerate(copies):
        for position in rng.choice(WORDS, at % 10, replace=False):
            copy[position] = "changed"
    return [" ".join(words) for words in originals + copies]


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 75_000
    instructions = texts(n, np.random.default_rng(0))
    columns = {"id": [str(i) for i in range(n)], "instruction": instructions, "response": [""] * n}
    start = time.perf_counter()
    marked = mark_duplicates(datasets.Dataset.from_dict(columns))["duplicate_of"][:]
    print(f"{n:,} rows: {time.perf_counter() - start:.1f} s, {n - marked.count(None):,} marked")
    first = n - n // 10  # row first + i is a copy of row i
    copies = zip(instructions, instructions[first:], strict=False)
    similar = [jaccard(shingles(original), shingles(copy)) for original, copy in copies]
    pairs = pd.DataFrame({"similarity": similar, "hit": [row is not None for row in marked[first:]]})
    edges = [0, 0.6, THRESHOLDS["text"], 0.75, 0.8, 0.9, 1.01]
    by = pairs.groupby(pd.cut(pairs["similarity"], edges, right=False), observed=True)["hit"]
    print(by.agg(pairs="size", recall="mean").to_string(float_format="{:.2%}".format))


if __name__ == "__main__":
    main()

"""Near-duplicates by text: recall of planted ones by their similarity, and time.

    python tests/benchmarks/duplicates.py [rows]               # default: 75000

Synthetic rows of 150 words; a tenth of them are copies of others with some words changed.
"""

import sys
import time

import datasets
import numpy as np
import pandas as pd

from workbench.cleaning.duplicates import THRESHOLDS, jaccard, mark_duplicates, shingles

WORDS, VOCABULARY = 150, 20_000


def texts(n: int, rng: np.random.Generator) -> list[str]:
    """`n` texts, the last tenth of them copies of the first with 0 to 9 words changed."""
    originals = [[f"w{word}" for word in rng.zipf(1.3, WORDS) % VOCABULARY] for _ in range(n - n // 10)]
    copies = [list(original) for original in originals[: n // 10]]
    for at, copy in enumerate(copies):
        for place in rng.choice(WORDS, at % 10, replace=False):
            copy[place] = "changed"
    return [" ".join(words) for words in originals + copies]


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 75_000
    found = texts(n, np.random.default_rng(0))
    columns = {"id": [str(i) for i in range(n)], "instruction": found, "response": [""] * n}
    start = time.perf_counter()
    marked = mark_duplicates(datasets.Dataset.from_dict(columns))["duplicate_of"][:]
    print(f"{n:,} rows: {time.perf_counter() - start:.1f} s, {n - marked.count(None):,} marked")
    first = n - n // 10  # copy i of row i
    similar = [jaccard(shingles(found[i]), shingles(found[first + i])) for i in range(n // 10)]
    pairs = pd.DataFrame({"similarity": similar, "hit": [row is not None for row in marked[first:]]})
    edges = [0, 0.6, THRESHOLDS["text"], 0.75, 0.8, 0.9, 1.01]
    by = pairs.groupby(pd.cut(pairs["similarity"], edges, right=False), observed=True)["hit"]
    print(by.agg(pairs="size", found="mean").to_string(float_format="{:.2%}".format))


if __name__ == "__main__":
    main()

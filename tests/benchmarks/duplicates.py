"""Time of near-duplicates by text on synthetic rows, a tenth of them copies with one word changed.

python tests/benchmarks/duplicates.py [rows]
"""

import sys
import time

import datasets
import numpy as np

from workbench.duplicates import mark_duplicates


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 75_000
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in rng.zipf(1.3, 150) % 20_000) for _ in range(n - n // 10)]
    texts += [texts[i].replace(" ", " changed ", 1) for i in range(n // 10)]
    ds = datasets.Dataset.from_dict(
        {"id": [str(i) for i in range(n)], "instruction": texts, "response": ["pass"] * n}
    )
    start = time.perf_counter()
    marked = sum(row is not None for row in mark_duplicates(ds)["duplicate_of"])
    print(f"{n:,} rows: {time.perf_counter() - start:.1f} s, {marked:,} marked of {n // 10:,} copies")


if __name__ == "__main__":
    main()

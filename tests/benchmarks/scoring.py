"""Scoring speed: batches of isolated samples in float32 and bfloat16, beside one sequence at a time.

    python tests/benchmarks/scoring.py [rows]

Everything is measured in one run, in alternation, on bundled rows. Prints medians and ratios; a ratio above 1
says that ours is faster than the loop that scores each sequence in a pass of its own, in float32.
"""

import statistics
import sys
import time

import torch

import workbench as wb
from workbench import complexity, forward, tables

ROUNDS = 3


def one_by_one(model, tokenizer, rows) -> None:
    """The plain way: two forward passes a row, full logits."""
    for pair in complexity.paper_pairs(tokenizer, rows["instruction"][:], rows["response"][:], 8192):
        for sample in (pair.alone, pair.conditioned):
            with torch.inference_mode():
                forward._alone_nll(model, sample)


def ours(rows, dtype: str):
    return wb.score(rows, "smollm2-135m-q4_1", dtype=dtype, cache=False)


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    rows = wb.load("bundled").select(range(int(sys.argv[1]) if len(sys.argv) > 1 else 32))
    model, tokenizer = wb.models.load_model("smollm2-135m-q4_1", "float32")
    found: dict[str, list[float]] = {"one by one": [], "float32": [], "bfloat16": []}
    for _ in range(ROUNDS):
        found["one by one"].append(seconds(lambda: one_by_one(model, tokenizer, rows)))
        for dtype in ("float32", "bfloat16"):
            found[dtype].append(seconds(lambda dtype=dtype: ours(rows, dtype)))
    base = statistics.median(found["one by one"])
    for name, times in found.items():
        middle = statistics.median(times)
        print(f"{name:12} {middle:7.1f} s  {len(rows) / middle:6.2f} rows/s  x{base / middle:.2f}")
    exact, fast = (tables.array(ours(rows, dtype), "ifd") for dtype in ("float32", "bfloat16"))
    ranks = [torch.tensor(scores).argsort().argsort().double() for scores in (exact, fast)]
    print(
        f"bfloat16 against float32: largest relative difference {abs(fast / exact - 1).max():.3f}", end=", "
    )
    print(f"Spearman {torch.corrcoef(torch.stack(ranks))[0, 1]:.4f}")


if __name__ == "__main__":
    main()

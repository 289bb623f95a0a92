"""Compare padding and planning time of all strategies with the packers of TRL and seqpacker.

    python tests/benchmarks/padding.py [samples] [--rounds N]

Lengths are clipped lognormals that reproduce the paper's rates for dynamic padding (36.5 % and 54.4 %) with
rows of 2,048 tokens and batches of 16 samples. TRL's packer takes a table of token ids and moves them, too;
seqpacker and `wb.pack` take lengths. Packers that are not installed are skipped. Times are medians after a
first call that compiles. The last lines show one million samples and the exponent of growth from 100,000
samples (1 is linear).
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import datasets
import numpy as np

from workbench.packing import PACKERS, pack

LENGTHS = {"OSS-like": (450, 0.2716), "Evol-like": (500, 0.4975)}
ROW, BATCH = 2048, 16  # tokens, samples


def draw_lengths(name: str, n: int) -> np.ndarray:
    median, sigma = LENGTHS[name]
    return np.clip(np.random.default_rng(0).lognormal(np.log(median), sigma, n), 16, ROW).astype(int)


def timed(function: Callable, rounds: int) -> tuple[float, object]:
    """Call `function` `rounds` times; return the median seconds and the last return value."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        value = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), value


def trl(lengths: np.ndarray) -> Callable[[], int] | None:
    """Return a call of TRL's best-fit decreasing over the whole set, which returns the number of rows."""
    try:
        from trl.data_utils import pack_dataset
    except ImportError:
        return None
    ds = datasets.Dataset.from_dict({"input_ids": [np.zeros(size, np.int32) for size in lengths]})
    ds = ds.with_format("arrow")
    options = {"batch_size": len(ds), "load_from_cache_file": False}
    return lambda: len(pack_dataset(ds, ROW, "bfd", map_kwargs=options))


def seqpacker(lengths: np.ndarray) -> Callable[[], int] | None:
    """Return a call of seqpacker's optimized best-fit decreasing, which returns the number of rows."""
    try:
        from seqpacker import Packer
    except ImportError:
        return None
    return lambda: len(Packer(ROW, "obfd").pack(lengths.tolist()).bins)


def compare(name: str, n: int, rounds: int) -> None:
    lengths = draw_lengths(name, n)
    own = {}
    for strategy in PACKERS:
        pack(lengths[:100], ROW, strategy, batch_size=BATCH)
        seconds, plan = timed(lambda s=strategy: pack(lengths, ROW, s, batch_size=BATCH), rounds)
        own[strategy] = seconds
        print(
            f"{name:10} {strategy:14}{plan.padding_rate:8.2%} padding {plan.n_rows:9,} rows {seconds:9.4f} s"
        )
    for peer, prepare in {"TRL bfd": trl, "seqpacker obfd": seqpacker}.items():
        if (call := prepare(lengths)) is None:
            print(f"{name:10} {peer:14} not installed")
            continue
        seconds, rows = timed(call, 1)
        rate = 1 - lengths.sum() / rows / ROW
        print(
            f"{name:10} {peer:14}{rate:8.2%} padding {rows:9,} rows {seconds:9.4f} s, "
            f"{seconds / own['bfd']:,.0f} times bfd, {seconds / own['exact']:,.0f} times exact"
        )


def growth(name: str, n: int, rounds: int) -> None:
    few, many = draw_lengths(name, n // 10), draw_lengths(name, n)
    for strategy in PACKERS:
        first, last = (
            timed(lambda k=k, s=strategy: pack(k, ROW, s, batch_size=BATCH), rounds)[0] for k in (few, many)
        )
        exponent = math.log10(last / first)
        print(f"{name:10} {strategy:14}{n:,} samples in {1e3 * last:6.1f} ms, growing as n^{exponent:.2f}")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("samples", type=int, nargs="?", default=75_000)
    options.add_argument("--rounds", type=int, default=7)
    options = options.parse_args()
    datasets.disable_progress_bars()
    for name in LENGTHS:
        compare(name, options.samples, options.rounds)
    for name in LENGTHS:
        growth(name, 1_000_000, options.rounds)


if __name__ == "__main__":
    main()

"""Padding rates and planning times on lengths like those of the paper's two datasets.

    python tests/benchmarks/padding.py [samples]

Lengths are clipped lognormals that give the paper's rates for dynamic padding (36.5 % and 54.4 %).
"""

import sys
import time

import numpy as np

from workbench.packing import STRATEGIES, pack

LENGTHS = {"OSS-like": (450, 0.2716), "Evol-like": (500, 0.4975)}


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 75_000
    rng = np.random.default_rng(0)
    for name, (median, sigma) in LENGTHS.items():
        lengths = np.clip(rng.lognormal(np.log(median), sigma, n), 16, 2048).astype(int)
        for strategy in STRATEGIES:
            start = time.perf_counter()
            plan = pack(lengths, max_length=2048, strategy=strategy, batch_size=16)
            took = time.perf_counter() - start
            rate = f"{plan.padding_rate:7.2%} padding"
            print(f"{name:10} {strategy:8} {rate}  {plan.n_rows:7,} rows  {took:.3f} s")


if __name__ == "__main__":
    main()

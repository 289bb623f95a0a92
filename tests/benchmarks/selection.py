"""Latency of the ratio slider, memory for a million rows, and run time of the slow strategies.

    python tests/benchmarks/selection.py slider [rows ...]     # default: 10000 75000 1000000
    python tests/benchmarks/selection.py memory [rows]         # cluster + select + coverage, peak memory
    python tests/benchmarks/selection.py slow [rows] [chosen] [strategy ...]

The data are synthetic unit vectors of 768 dimensions around 200 centres, with scores and token counts.
`memory` reads the table memory-mapped from disk and clusters it with `wb.cluster`.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

import workbench as wb

D, CENTRES = 768, 200
ALL_RATIOS = np.linspace(0.05, 0.95, 60)


def vectors(n: int, seed: int = 0) -> np.ndarray:
    """float32 [n, D] of unit length, in clusters of unequal size."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CENTRES, D), np.float32)
    label = rng.choice(CENTRES, n, p=rng.dirichlet(np.ones(CENTRES)))
    points = rng.standard_normal((n, D), np.float32)
    for start in range(0, n, 8192):
        points[start : start + 8192] += centres[label[start : start + 8192]]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points


def table(n: int, clusters: int | None = 10) -> datasets.Dataset:
    rng = np.random.default_rng(1)
    columns = {
        "ifd": pa.array(rng.normal(0.85, 0.1, n)),
        "n_tokens": pa.array(rng.lognormal(6, 0.5, n).astype(np.int64)),
        "language": pa.array(rng.choice(["python", "java", "c++", "sql"], n, p=[0.7, 0.1, 0.1, 0.1])),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors(n).ravel()), D),
    }
    if clusters:
        columns["cluster"] = pa.array(rng.choice(clusters, n, p=rng.dirichlet(np.ones(clusters))))
    return datasets.Dataset(pa.table(columns))


def memory_of(kind: str) -> float:
    """Memory of this process in GiB (Linux).

    `kind` is VmHWM, the peak with mapped files, or RssAnon, the current size without them. getrusage would
    include the parent process.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{kind}:\s+(\d+) kB", status).group(1)) / 2**20


def peak() -> float:
    return memory_of("VmHWM")


def slider(sizes: list[int]) -> None:
    middles = []
    for n in sizes:
        explorer = wb.Explorer(table(n))
        start = time.perf_counter()
        look(explorer, 0.5)
        first = time.perf_counter() - start
        took = []
        for ratio in np.random.default_rng(0).permutation(ALL_RATIOS):
            start = time.perf_counter()
            look(explorer, ratio)
            took.append(1e3 * (time.perf_counter() - start))
        middles.append(np.median(took))
        p95 = np.quantile(took, 0.95)
        print(
            f"{n:9,} rows x {D}: first {first:6.1f} s, then p50 {middles[-1]:6.1f} ms, p95 {p95:6.1f} ms, "
            f"peak {peak():.1f} GiB",
            flush=True,
        )
        del explorer
    if len(sizes) > 1:
        slope = np.polyfit(np.log(sizes), np.log(middles), 1)[0]
        print(f"growth: time ~ rows^{slope:.2f}")


def look(explorer: "wb.Explorer", ratio: float) -> None:
    """Compute all numbers at one ratio."""
    selection = explorer.at(float(ratio))
    assert selection.report.n_kept
    assert selection.coverage.mmd is not None


def memory(n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        datasets.disable_progress_bars()
        table(n, clusters=None).save_to_disk(path)
        # A fresh process, so that generating the data does not count.
        subprocess.run([sys.executable, __file__, "_measure", str(path)], check=True)


def measure(path: str) -> None:
    ds = datasets.load_from_disk(path)
    embedding = 4 * D * len(ds) / 2**30
    print(f"{len(ds):,} rows x {D}: {embedding:.2f} GiB of embeddings; start {peak():.2f} GiB", flush=True)
    begin = time.perf_counter()
    ds = step("cluster", lambda: wb.cluster(ds, k=10))
    sel = step("select", lambda: wb.select(ds, 0.4))
    step("report", lambda: sel.report)
    step("coverage", lambda: sel.coverage)
    explorer = wb.Explorer(ds, candidates=sel.candidates)
    step("slider", lambda: look(explorer, 0.4))
    print(f"in all {time.perf_counter() - begin:.1f} s, peak {peak():.2f} GiB")
    print(sel.coverage)


def step(name: str, action):
    start = time.perf_counter()
    value = action()
    took, own = time.perf_counter() - start, memory_of("RssAnon")
    print(f"{name:9} {took:6.1f} s, peak {peak():.2f} GiB; now {own:.2f} GiB of its own", flush=True)
    return value


def slow(n: int, chosen: int, names: list[str]) -> None:
    ds = table(n)
    for name in names:
        start = time.perf_counter()
        sel = wb.select(ds, rows=chosen, strategy=name)
        took = time.perf_counter() - start
        coverage = sel.coverage
        print(
            f"{name:18} {len(sel.indices):,} of {n:,} rows x {D}: {took:6.1f} s; mmd {coverage.mmd:.4f}, "
            f"median distance {coverage.median_distance:.4f}, radius {coverage.radius:.4f}",
            flush=True,
        )


def main() -> None:
    verb, *rest = sys.argv[1:] or ["slider"]
    if verb == "_measure":
        measure(rest[0])
        return
    numbers = [int(value) for value in rest if value.isdigit()]
    if verb == "slider":
        slider(numbers or [10_000, 75_000, 1_000_000])
    elif verb == "memory":
        memory(*numbers or [1_000_000])
    else:
        names = [value for value in rest if not value.isdigit()]
        n, chosen = numbers or [75_000, 10_000]
        slow(n, chosen, names or ["random", "facility-location", "parametric"])


if __name__ == "__main__":
    main()

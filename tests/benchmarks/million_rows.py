"""Time and peak memory of the stages before training, at 100,000 and 1,000,000 rows, and their growth.

    python tests/benchmarks/million_rows.py [rows ...]

Rows have about 300 characters and a toy vector of 64 dimensions. Each stage runs in a process of its own on
the Parquet file that the stage before it wrote. Its time is that of its function alone, its peak that of the
whole process, reading and writing included.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DIMENSIONS = 64
_CHUNK = 50_000  # rows written at once


def write_rows(path: Path, n: int) -> None:
    """Write `n` rows of distinct texts and a made-up IFD."""
    rng, writer = np.random.default_rng(0), None
    for start in range(0, n, _CHUNK):
        rows = range(start, min(start + _CHUNK, n))
        body = "    total = total * 31 + value\n" * 6 + "    return total\n"
        table = pa.table(
            {
                "instruction": [f"Write a function f{row} that folds {row % 97} values." for row in rows],
                "response": [f"def f{row}(values):\n    total = {row}\n{body}" for row in rows],
                "ifd": rng.uniform(0.1, 1.1, len(rows)),
                "n_tokens": rng.integers(60, 120, len(rows)),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def opened(path: Path):
    import datasets

    return datasets.Dataset(pq.read_table(path, memory_map=True))


def load(path: Path):
    import workbench as wb

    return wb.load(path)


def embed(path: Path):
    """Add toy vectors: the cost of the column itself, without a model."""
    from workbench.core import tables

    ds = opened(path)
    vectors = np.random.default_rng(1).standard_normal((len(ds), DIMENSIONS), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return tables.with_columns(ds, {"embedding": vectors}, {"embedding": tables.vector(DIMENSIONS)})


def cluster(path: Path):
    import workbench as wb

    return wb.cluster(opened(path))


def select(path: Path):
    import workbench as wb

    return wb.select(opened(path), ratio=0.4).dataset


STAGES = (load, embed, cluster, select)


def measure(stage, source: Path, target: Path, results) -> None:
    """Run one stage in this process, write its table, and put (seconds, peak MiB) into `results`."""
    from workbench.core import tables

    start = time.perf_counter()
    ds = stage(source)
    seconds = time.perf_counter() - start
    tables.write_parquet(ds, target)
    results.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def stages_of(n: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Return (seconds, peak MiB) of each stage on `n` rows; a killed stage ends the list."""
    context, measured = multiprocessing.get_context("spawn"), {}
    source = folder / f"{n}.parquet"
    write_rows(source, n)
    for stage in STAGES:
        target, results = folder / f"{n}-{stage.__name__}.parquet", context.SimpleQueue()
        process = context.Process(target=measure, args=(stage, source, target, results))
        process.start()
        process.join()
        if process.exitcode:
            print(f"{n:,} rows, {stage.__name__}: ended with code {process.exitcode}")
            break
        measured[stage.__name__] = results.get()
        seconds, peak = measured[stage.__name__]
        print(f"{n:9,} rows  {stage.__name__:8} {seconds:7.1f} s {peak:7,.0f} MiB", flush=True)
        source = target
    return measured


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:]] or [100_000, 1_000_000]
    with tempfile.TemporaryDirectory() as folder:
        tables_of = {n: stages_of(n, Path(folder)) for n in sizes}
    for name in tables_of[sizes[-1]]:
        (few, low), (many, high) = tables_of[sizes[0]][name], tables_of[sizes[-1]][name]
        print(f"{name}: {many / few:.1f} times the time, {high - low:+,.0f} MiB")

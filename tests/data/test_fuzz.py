"""Damaged files end in a table with named rejections, or in one sentence that names the file.

WORKBENCH_FUZZ=10000 tries as many files instead of 300.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import random
import time
import warnings

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.core.errors import UserError
from workbench.data import load, rejected

N_FILES = int(os.environ.get("WORKBENCH_FUZZ", "300"))
SECONDS = 5.0  # CPU time for one small file
MESSAGES = [{"role": "user", "content": "Add two numbers."}, {"role": "assistant", "content": "a + b"}]
ROWS = [
    {"instruction": f"Write »{n}«.", "response": f"def f{n}():\n    return '{n}'", "n": n} for n in range(6)
]


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def arrow() -> bytes:
    table, sink = pa.Table.from_pylist(ROWS), io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def jsonl(rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


VALID = {
    "rows.jsonl": jsonl(ROWS),
    "dialogues.jsonl": jsonl([{"messages": MESSAGES}] * 4),
    "rows.json": json.dumps(ROWS, indent=1).encode(),
    "columns.json": pd.DataFrame(ROWS).to_json().encode(),
    "rows.csv": pd.DataFrame(ROWS).to_csv(index=False).encode(),
    "rows.tsv": pd.DataFrame(ROWS).to_csv(index=False, sep="\t").encode(),
    "rows.jsonl.gz": gzip.compress(jsonl(ROWS), mtime=0),
    "rows.jsonl.bz2": bz2.compress(jsonl(ROWS)),
    "rows.csv.xz": lzma.compress(pd.DataFrame(ROWS).to_csv(index=False).encode()),
    "rows.parquet": parquet(),
    "rows.arrow": arrow(),
}
INSERTED = [
    *(b'"', b"\n", b"\r", b",", b"{", b"}", b"[", b"]", b":", b"\\", b"\\u", b"\\ud800", b"\0", b"\xff"),
    *(b"\xef\xbb\xbf", b"null", b"NaN", b"1e999", b"9" * 40, b"\t", b'""', b"{}", b"[]", b"\xe2\x80\xa8"),
]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """`content` with up to four changes: bytes cut, doubled, swapped, replaced or inserted."""
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(content) + 1), rng.choice((1, 1, 2, 8, 40, 400))
        part = content[at : at + size]
        content = rng.choice(
            (
                lambda at=at, size=size, content=content: content[:at] + content[at + size :],
                lambda at=at, part=part, content=content: content[:at] + part + content[at:],
                lambda at=at, content=content: content[:at],
                lambda at=at, content=content: content[:at] + rng.choice(INSERTED) + content[at:],
                lambda at=at, content=content: content[:at] + rng.randbytes(1) + content[at + 1 :],
            )
        )()
    return content


def account(ds, path, content: bytes) -> str:
    """Check that rows and rejections add up to what was read, and in JSON Lines to the lines of the file."""
    notes = map(json.loads, filter(None, ds.info.description.split("\n")))
    n_read = next(note["n_read"] for note in notes if "n_read" in note)
    assert n_read == len(ds) + len(rejected(ds))
    if path.suffix == ".jsonl" and content.startswith(b'{"'):
        lines = [line.decode("utf-8", "replace") for line in content.split(b"\n")]
        assert n_read >= sum(bool(line.strip()) for line in lines)
    return f"{len(ds)} of {n_read} rows"


def check(path, content: bytes) -> None:
    """Load the file: the rows and the rejections account for each of its lines, or a UserError names it."""
    path.write_bytes(content)
    start = time.process_time()
    try:
        ds = load(path)
    except UserError as error:
        message = str(error)
    else:
        message = f"{path.name}: {account(ds, path, content)}"
    assert path.name in message
    assert "\n" not in message
    assert time.process_time() - start < SECONDS


@pytest.mark.slow
def test_damaged_files(tmp_path):
    seed = int(os.environ.get("WORKBENCH_FUZZ_SEED", time.time_ns() % 10**9))
    print(f"WORKBENCH_FUZZ_SEED={seed}")
    rng, names = random.Random(seed), [*VALID]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(N_FILES):
            name = names[number % len(names)]
            content = damaged(VALID[name], rng)
            try:
                check(tmp_path / name, content)
            except Exception as error:
                pytest.fail(
                    f"file {number} (seed {seed}), {name}, {content!r}: {type(error).__name__}: {error}"
                )


@pytest.mark.parametrize("name", VALID)
def test_valid_files_are_whole(tmp_path, name):
    (tmp_path / name).write_bytes(VALID[name])
    ds = load(tmp_path / name)
    assert len(ds) == (4 if name == "dialogues.jsonl" else len(ROWS))
    assert rejected(ds).empty

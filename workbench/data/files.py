"""The file formats that `load` reads, by suffix."""

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.errors import UserError
from ..core.storage import RemotePath
from .csv_files import csv_rows, tsv_rows
from .json_files import json_rows, jsonl_rows
from .rows import first_line
from .text import COMPRESSIONS, UTF_8

# Suffix -> function that yields the rows of a `TextFile`.
READERS = {
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
}
READERS |= {name + packed: reader for name, reader in READERS.items() for packed in COMPRESSIONS}
TABLES = (".parquet", ".arrow", ".feather")
SUFFIXES = (*READERS, *TABLES)
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def suffix(path: Path | RemotePath) -> str:
    """Return the suffix that determines the format, in lower case, e.g. ".jsonl" or ".csv.gz"."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last in COMPRESSIONS else last


def read_table(path: Path | RemotePath, label: str) -> pa.Table:
    """Return the table in a Parquet or Arrow file. Raises UserError if it cannot be read."""
    kind = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
    try:
        table = _read_parquet(path) if kind == "Parquet" else _read_arrow(path)
        # Reading checks neither offsets nor UTF-8, in cells or in the names of columns.
        table.validate(full=True)
        names = [*table.column_names, str(table.schema)][:-1]  # the text has the names of nested fields
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{label} cannot be read as {kind}: {first_line(error)}; write it again.") from None
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{label} has two columns called {repeated[0]!r}; rename one.")
    return table


def _read_parquet(path: Path | RemotePath) -> pa.Table:
    # pq.read_table would add a column for a folder named like "a=1".
    with path.open("rb") as source, pq.ParquetFile(source) as file:
        return file.read()


def _read_arrow(path: Path | RemotePath) -> pa.Table:
    """Read an Arrow file, or a stream as `datasets` writes it; a local one stays on disk (memory-mapped)."""
    source = pa.PythonFile(path.open("rb")) if isinstance(path, RemotePath) else pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source).read_all()


def is_saved_dataset(path: Path | RemotePath) -> bool:
    """Return whether the folder was written by `save_to_disk`."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def read_saved_dataset(path: Path | RemotePath, split: str) -> datasets.Dataset:
    """Return the dataset that `save_to_disk` wrote to the folder; of a DatasetDict, one split."""
    try:
        options = path.storage_options if isinstance(path, RemotePath) else None
        return one_split(datasets.load_from_disk(str(path), storage_options=options), str(path), split)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}; save the dataset again.") from None


def one_split(ds: datasets.Dataset | datasets.DatasetDict, label: str, split: str) -> datasets.Dataset:
    """Return `ds`, or the split of a DatasetDict; its only one whatever its name."""
    if not isinstance(ds, dict):
        return ds
    if len(ds) == 1:
        return next(iter(ds.values()))
    if split not in ds:
        raise UserError(f"{label} has no split {split!r}; give split= one of {', '.join(map(repr, ds))}.")
    return ds[split]


def check_content(path: Path | RemotePath, label: str, encoding: str) -> None:
    """Raise UserError if the file is a Git LFS pointer, a web page or, read as UTF-8, UTF-16."""
    with path.open("rb") as file:
        start = file.read(200)
    if encoding == UTF_8 and start.startswith(_UTF_16_MARKS) and suffix(path) in READERS:
        raise UserError(f"{label} is not UTF-8 but UTF-16; give encoding='utf-16' or save it as UTF-8.")
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{label} is a Git LFS pointer, not the data; run `git lfs pull` in its repository.")
    if start.lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{label} is a web page (HTML), not the data; download the file itself.")

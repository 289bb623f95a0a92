"""Files -> rows. Text is UTF-8, read line by line so that a bad byte or row can be named by its place."""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..core.errors import UserError
from .rows import Rejection, Row, excerpt, kind

_BOM = "\ufeff"
_NOT_JSON = (ValueError, RecursionError)  # the second for brackets nested a thousand deep


def suffix(path: Path) -> str:
    """What tells the format: ".jsonl", ".csv.gz", in lower case."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last == ".gz" else last


def read_parquet(path: Path) -> pa.Table:
    try:
        # Not read_table, which takes a folder called "a=1" for a column.
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {_first_line(error)}; write it again.") from None


def _jsonl_rows(path: Path, label: str) -> Iterator[Row | Rejection]:
    """One row per line; a blank line is none."""
    for number, line in enumerate(_lines(path, label), start=1):
        if not line or line.isspace():
            continue
        try:
            found = json.loads(line)
        except _NOT_JSON as error:
            yield Rejection(label, number, f"not valid JSON: {_first_line(error)}", excerpt(line))
        else:
            yield _object_row(found, number, label)


def _json_rows(path: Path, label: str) -> Iterator[Row | Rejection]:
    """The objects of a list, which may be the only one in an object; or JSON Lines by another name."""
    if _is_json_lines(path, label):
        yield from _jsonl_rows(path, label)
        return
    text = "".join(_lines(path, label))
    try:
        found = json.loads(text)
    except _NOT_JSON as error:
        raise UserError(
            f"{label} is not valid JSON: {_first_line(error)}; mend it or write it again."
        ) from None
    for number, item in enumerate(_list_of_objects(found, label), start=1):
        yield _object_row(item, number, label)


def _is_json_lines(path: Path, label: str) -> bool:
    """Whether the first line is an object of its own and another follows, as `Dataset.to_json` writes it."""
    lines = (line for line in _lines(path, label) if not line.isspace())
    first, second = next(lines, ""), next(lines, "")
    if not second.startswith("{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except _NOT_JSON:
        return False


def _list_of_objects(found: object, label: str) -> list:
    if isinstance(found, list):
        return found
    lists = [value for value in found.values() if _holds_objects(value)] if isinstance(found, dict) else []
    if len(lists) == 1:
        return lists[0]
    what = f"an object with {len(lists)} lists of objects" if isinstance(found, dict) else kind(found)
    raise UserError(f"{label} holds {what}; give a list of objects, or an object with one such list.")


def _holds_objects(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _object_row(found: object, number: int, label: str) -> Row | Rejection:
    if isinstance(found, dict):
        return Row(number, found)
    return Rejection(label, number, f"the row is {kind(found)}, not an object", excerpt(found))


def _csv_rows(path: Path, label: str, delimiter: str = ",") -> Iterator[Row | Rejection]:
    """One row per record, named by the line that it begins on; quoted fields may hold line ends."""
    csv.field_size_limit(
        min(sys.maxsize, 2**31 - 1)
    )  # the module's own limit, 128 kB, is below a long response
    # Strict, because a stray quote would otherwise swallow the lines up to the next one.
    records = csv.reader(_lines(path, label), delimiter=delimiter, strict=True)
    header = _header(records, label)
    while True:
        line = records.line_num + 1
        try:
            cells = next(records, None)
        except csv.Error as error:
            yield Rejection(label, line, f"not valid CSV: {error}", "")
            continue
        if cells is None:
            return
        if len(cells) > len(header):
            reason = f"the row has {len(cells)} cells, the header {len(header)}"
            yield Rejection(label, line, reason, excerpt(delimiter.join(cells)))
        elif cells:  # a blank line is no row
            yield Row(line, dict(zip(header, cells, strict=False)))


def _header(records, label: str) -> list[str]:
    try:
        header = next(records, [])
    except csv.Error as error:
        raise UserError(f"{label}: the header line is not valid CSV: {error}; mend it.") from None
    if twice := [name for name in header if header.count(name) > 1]:
        raise UserError(f"{label} has two columns called {twice[0]!r}; rename one.")
    return header


def _tsv_rows(path: Path, label: str) -> Iterator[Row | Rejection]:
    return _csv_rows(path, label, delimiter="\t")


def _lines(path: Path, label: str) -> Iterator[str]:
    """The lines with their ends; as in JSON Lines, only a line feed ends one."""
    offset = 0  # bytes before this line
    try:
        with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
            for raw in file:
                line = raw.decode()
                yield line if offset else line.removeprefix(_BOM)
                offset += len(raw)
    except UnicodeDecodeError as error:
        at, byte = offset + error.start, error.object[error.start]
        raise UserError(f"{label} is not UTF-8: byte {at} is 0x{byte:02x}; save it as UTF-8.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{label} cannot be read: {error}; fetch or write it again.") from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


READERS = {
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
}
READERS |= {f"{name}.gz": reader for name, reader in READERS.items()}
SUFFIXES = (*READERS, ".parquet")

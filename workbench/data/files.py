"""Read files into rows. Text is UTF-8 and is read line by line, so that errors can name the byte or line."""

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
from . import columns
from .columns import Columns
from .rows import Rejection, Row, excerpt, kind

_BOM = "\ufeff"
_NOT_JSON = (ValueError, RecursionError)  # RecursionError: a thousand nested brackets


def suffix(path: Path) -> str:
    """Return the suffix that determines the format, in lower case, e.g. ".jsonl" or ".csv.gz"."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last == ".gz" else last


def read_parquet(path: Path) -> pa.Table:
    """Return the table in a Parquet file. Raises UserError if it cannot be read."""
    try:
        # pq.read_table would add a column for a folder named like "a=1".
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {_first_line(error)}; write it again.") from None


def check_content(path: Path, label: str) -> None:
    """Raise UserError if the file is a Git LFS pointer or a web page, whatever its name says."""
    with path.open("rb") as file:
        start = file.read(200).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{label} is a Git LFS pointer, not the data; run `git lfs pull` in its repository.")
    if start.lower().startswith((b"<!doctype html", b"<html")):
        raise UserError(f"{label} is a web page (HTML), not the data; download the file itself.")


def _jsonl_rows(path: Path, label: str) -> Iterator[Row | Rejection]:
    """Yield one row per line, except blank lines."""
    for number, line in enumerate(_lines(path, label), start=1):
        if not line or line.isspace():
            continue
        try:
            value = json.loads(line)
        except _NOT_JSON as error:
            yield Rejection(label, number, f"not valid JSON: {_first_line(error)}", excerpt(line))
        else:
            yield _object_row(value, number, label)


def _json_rows(path: Path, label: str) -> Iterator[Row | Rejection]:
    """Yield the objects of a list, of the only list in an object, or the object. Also reads JSON Lines."""
    if _is_json_lines(path, label):
        yield from _jsonl_rows(path, label)
        return
    text = "".join(_lines(path, label))
    try:
        document = json.loads(text)
    except _NOT_JSON as error:
        raise UserError(
            f"{label} is not valid JSON: {_first_line(error)}; fix it or write it again."
        ) from None
    for number, item in enumerate(_list_of_objects(document, label), start=1):
        yield _object_row(item, number, label)


def _is_json_lines(path: Path, label: str) -> bool:
    """Return whether the first two lines are objects, as `Dataset.to_json` writes them."""
    lines = (line for line in _lines(path, label) if not line.isspace())
    first, second = next(lines, ""), next(lines, "")
    if not second.startswith("{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except _NOT_JSON:
        return False


def _list_of_objects(document: object, label: str) -> list:
    if isinstance(document, list):
        return document
    values = document.values() if isinstance(document, dict) else ()
    if isinstance(document, dict) and columns.find(document, Columns()):
        return [document]  # one row; a list in it, e.g. of messages, is no table
    lists = [value for value in values if _holds_objects(value)]
    if len(lists) == 1:
        return lists[0]
    if document and isinstance(document, dict) and not lists:
        return [document]
    content = f"an object with {len(lists)} lists of objects" if lists else kind(document)
    raise UserError(f"{label} holds {content}; give a list of objects, or an object with one such list.")


def _holds_objects(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _object_row(value: object, number: int, label: str) -> Row | Rejection:
    if isinstance(value, dict):
        return Row(number, value)
    return Rejection(label, number, f"the row is {kind(value)}, not an object", excerpt(value))


def _csv_rows(path: Path, label: str, delimiter: str = ",") -> Iterator[Row | Rejection]:
    """Yield one row per record, with the number of its first line; quoted fields may contain line ends."""
    # The default limit of 128 kB is less than a long response.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    # Strict: otherwise a stray quote would merge all lines up to the next quote.
    read: list[str] = []  # the lines of the current record
    records = csv.reader(_recorded(_lines(path, label), read), delimiter=delimiter, strict=True)
    header = _header(records, label)
    while True:
        line = records.line_num + 1
        read.clear()
        try:
            cells = next(records, None)
        except csv.Error as error:
            yield from _swallowed(read, line, label, str(error))
            continue
        if cells is None:
            return
        if len(cells) > len(header):
            reason = f"the row has {len(cells)} cells, the header {len(header)}"
            yield Rejection(label, line, reason, excerpt(delimiter.join(cells)))
        elif cells:  # a blank line has no cells
            yield Row(line, dict(zip(header, cells, strict=False)))


def _recorded(lines: Iterator[str], read: list[str]) -> Iterator[str]:
    """Yield `lines`, and append each to `read`."""
    for line in lines:
        read.append(line)
        yield line


def _swallowed(lines: list[str], first: int, label: str, error: str) -> Iterator[Rejection]:
    """Yield a rejection for each line of a record that is not valid CSV, e.g. of an unclosed quote."""
    for number, line in enumerate(lines, start=first):
        reason = f"not valid CSV: {error}" if number == first else f"part of the bad record at line {first}"
        if not line.isspace():
            yield Rejection(label, number, reason, excerpt(line))


def _header(records, label: str) -> list[str]:
    try:
        header = next(records, [])
    except csv.Error as error:
        raise UserError(f"{label}: the header line is not valid CSV: {error}; fix it.") from None
    if repeated := [name for name in header if header.count(name) > 1]:
        raise UserError(f"{label} has two columns called {repeated[0]!r}; rename one.")
    return header


def _tsv_rows(path: Path, label: str) -> Iterator[Row | Rejection]:
    return _csv_rows(path, label, delimiter="\t")


def _lines(path: Path, label: str) -> Iterator[str]:
    """Yield the lines with their ends. Only a line feed ends a line, as JSON Lines specifies."""
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
        raise UserError(f"{label} cannot be read: {error}; download or write it again.") from None


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

"""The types that all readers share: rows, rejected rows, and the source they come from."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import pyarrow as pa

_BATCH = 10_000  # rows of a table converted to Python objects at once
EXCERPT = 80  # characters of a rejected row that are stored to recognize it


class Row(NamedTuple):
    """One row as read. `source` names its file if the rows come from several files."""

    line: int  # line in the file, or number of the row; from 1
    cells: dict
    source: str | None = None


class Rejection(NamedTuple):
    """One row that is left out, with the reason."""

    source: str
    line: int
    reason: str
    excerpt: str


@dataclass(frozen=True, eq=False)
class Source:
    """An opened source: a stream of `rows`, or a typed `table` whose other columns are kept unchanged."""

    label: str  # the name of the source in messages
    stem: str  # the beginning of generated ids
    rows: Iterable[Row | Rejection] = ()
    table: pa.Table | None = None
    unit: str = "row"  # the unit of `Row.line`: "row" or "line"
    notes: str = ""  # the description of the source dataset


def table_rows(table: pa.Table, names: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of `table` with only those cells whose column is among `names`."""
    selected = table.select([name for name in dict.fromkeys(names) if name in table.column_names])
    lines = count(1)
    for batch in selected.to_batches(max_chunksize=_BATCH):
        for cells in batch.to_pylist():
            yield Row(next(lines), cells)


def excerpt(row: object) -> str:
    """Return the beginning of a row on one line, in at most `EXCERPT` characters of valid UTF-8."""
    text = row if isinstance(row, str) else json.dumps(row, ensure_ascii=False, default=str, skipkeys=True)
    text = printable(" ".join(text[: 10 * EXCERPT].split()))
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def printable(text: str) -> str:
    """Return `text` with lone surrogates, which UTF-8 cannot encode, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def kind(value: object) -> str:
    """Return the type of a cell in words, e.g. "a number"."""
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"of type {type(value).__name__}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().split("\n")[0]


def is_missing(value: object) -> bool:
    """Return whether a cell is None, i.e. null or an absent key, or NaN."""
    return value is None or (isinstance(value, float) and value != value)

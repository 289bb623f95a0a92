"""What every reader gives: rows, rows that cannot be read, and the source that they are from."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

EXCERPT = 80  # characters of a rejected row that are kept to recognise it by


class Row(NamedTuple):
    """One row as it was found; `source` is set where rows of one load are from several files."""

    line: int  # in the file, or the row's number; from 1
    cells: dict
    source: str | None = None


class Rejection(NamedTuple):
    """One row that is left out."""

    source: str
    line: int
    reason: str
    excerpt: str


@dataclass(frozen=True)
class Source:
    """An opened source: a stream of `rows`, or a typed `table` whose other columns are kept as they are."""

    label: str  # names it in messages
    stem: str  # begins the ids that are made here
    rows: Iterable[Row | Rejection] = ()
    table: pa.Table | None = None
    unit: str = "row"  # what `Row.line` counts
    notes: str = ""  # the description that a dataset brought along


def excerpt(found: object) -> str:
    """The beginning of a row in at most `EXCERPT` characters of valid UTF-8, on one line."""
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
    text = " ".join(text[: 10 * EXCERPT].split()).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def kind(value: object) -> str:
    """What a cell holds, in words: "a number"."""
    if isinstance(value, bool):
        return "a boolean"
    known = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return known.get(type(value), f"of type {type(value).__name__}")


def is_missing(value: object) -> bool:
    """A null, an absent key (both None here) or a NaN."""
    return value is None or (isinstance(value, float) and value != value)

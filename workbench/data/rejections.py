"""Store the rejected rows with the dataset, and report them.

The list is JSON in `ds.info.description`, the only text of a dataset that survives select, map,
concatenation, save_to_disk and this package's Parquet files. JSON files do not keep it.
"""

import json
import warnings

import datasets
import pandas as pd

from ..core.errors import UserError
from .rows import Rejection, Source


class RejectedRowsWarning(UserWarning):
    """`load` left out some rows of a source. `rejected` lists them."""


def describe(source: Source, n_read: int, rejections: list[Rejection]) -> str:
    """Return the description of a dataset from `source`: its own description, then a line of JSON."""
    note = {"source": source.label, "n_read": n_read, "rejected": [r._asdict() for r in rejections]}
    return "\n\n".join(filter(None, [source.notes, json.dumps(note)]))


def rejected(ds: datasets.Dataset) -> pd.DataFrame:
    """List the rows that `wb.load` left out of `ds`, as a DataFrame with one row per rejected row.

    The columns are `source` (file or other source), `line` (int64, its line in a JSONL, CSV or Python file,
    else its row; from 1), `reason`, and `excerpt` (the beginning of the row, at most 80 characters).

    The list survives select, map, concatenation, save_to_disk and Parquet files written by this package. A
    dataset concatenated from several loaded ones lists the rejected rows of all. The list is empty for a
    dataset that `wb.load` did not make, or that was read from a file without a description, e.g. JSON.

    A row is rejected if

    - it cannot be parsed (invalid JSON or CSV, a CSV record with more cells than the header, no JSON object);
    - its instruction or response is missing, null, NaN or blank, is not text, or has a lone surrogate, which
      UTF-8 cannot encode; or its `input` is not text;
    - its dialogue has no assistant turn, no user turn before the last assistant turn, or an unknown role;
    - it is a documented function without a body, or a Python file that does not parse ("package:NAME").
    """
    rejections = []
    for line in ds.info.description.split("\n"):
        try:
            note = json.loads(line)
        except ValueError:  # text from another source
            continue
        if isinstance(note, dict) and "rejected" in note:
            rejections += note["rejected"]
    return pd.DataFrame(rejections, columns=list(Rejection._fields)).astype({"line": "int64"})


def warn(source: Source, n_read: int, rejections: list[Rejection]) -> None:
    """Warn the caller of `load` with the number of rejected rows and the first reason."""
    warnings.warn(
        f"{source.label}: {len(rejections):,} of {n_read:,} rows rejected; the first: "
        f"{_first(source, rejections)}. wb.rejected(ds) lists them all.",
        RejectedRowsWarning,
        stacklevel=3,
    )


def nothing_left(source: Source, rejections: list[Rejection]) -> UserError:
    """Return the error to raise if no row is usable."""
    if not rejections:
        return UserError(f"{source.label} holds no rows; give a source with at least one.")
    first = _first(source, rejections)
    return UserError(
        f"{source.label}: every row ({len(rejections):,}) was rejected; the first: {first}; "
        f"fix the source, or name other columns with instruction= and response=."
    )


def _first(source: Source, rejections: list[Rejection]) -> str:
    first = rejections[0]
    if first.source != source.label:  # one of several files
        return f"{first.source}, line {first.line}: {first.reason}"
    return f"{source.unit} {first.line}: {first.reason}"

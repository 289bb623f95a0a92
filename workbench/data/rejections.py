"""What was left out, kept with the dataset.

The list travels as JSON in `ds.info.description`: the one text of a dataset that lives through select, map,
concatenation, save_to_disk and our own Parquet files. JSON files do not carry it.
"""

import json
import warnings

import datasets
import pandas as pd

from ..core.errors import UserError
from .rows import Rejection, Source


class RejectedRowsWarning(UserWarning):
    """Some rows of a source were left out."""


def describe(source: Source, n_read: int, rejections: list[Rejection]) -> str:
    """The description of a dataset from `source`: a line of JSON after what it already brought along."""
    found = {"source": source.label, "n_read": n_read, "rejected": [r._asdict() for r in rejections]}
    return "\n\n".join(filter(None, [source.notes, json.dumps(found)]))


def rejected(ds: datasets.Dataset) -> pd.DataFrame:
    """The rows that `load` left out of `ds`: columns source, line, reason, excerpt (the row's beginning).

    Empty for a dataset that `load` did not make, or that came through a file that keeps no description.
    A dataset made of several loaded ones lists what was left out of each.
    """
    found = []
    for line in ds.info.description.split("\n"):
        try:
            note = json.loads(line)
        except ValueError:  # someone else's description
            continue
        if isinstance(note, dict) and "rejected" in note:
            found += note["rejected"]
    return pd.DataFrame(found, columns=list(Rejection._fields)).astype({"line": "int64"})


def warn(source: Source, n_read: int, rejections: list[Rejection]) -> None:
    """One sentence to the caller of `load`."""
    warnings.warn(
        f"{source.label}: {len(rejections):,} of {n_read:,} rows rejected; the first: "
        f"{_first(source, rejections)}. wb.rejected(ds) lists them all.",
        RejectedRowsWarning,
        stacklevel=3,
    )


def nothing_left(source: Source, rejections: list[Rejection]) -> UserError:
    """The error for when not one row can be used."""
    if not rejections:
        return UserError(f"{source.label} holds no rows; give a source with at least one.")
    first = _first(source, rejections)
    return UserError(
        f"{source.label}: every row ({len(rejections):,}) was rejected; the first: {first}; "
        f"mend the source, or name other columns with instruction= and response=."
    )


def _first(source: Source, rejections: list[Rejection]) -> str:
    first = rejections[0]
    if first.source != source.label:  # one file of several
        return f"{first.source}, line {first.line}: {first.reason}"
    return f"{source.unit} {first.line}: {first.reason}"

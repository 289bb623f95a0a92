"""`load`: open a source, find its columns, sift its rows, build the table."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from datasets.fingerprint import generate_random_fingerprint

from ..core import errors, tables
from . import arrow, columns, rejections
from .columns import Columns
from .rows import Rejection, Row, Source, excerpt, is_missing
from .sources import open_source, table_rows

_HEAD = 1000  # rows whose keys decide which columns there are; all rows when these do not
_IDS = ("id", "task_id")  # columns that may hold the rows' own ids
_OURS = ("id", "instruction", "response", "dialogue")
_DIALOGUE = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))


@dataclass
class _Sifted:
    """The usable rows, column by column, and the others."""

    n_read: int = 0
    lines: list[int] = field(default_factory=list)
    ids: dict[str, list] = field(default_factory=lambda: {name: [] for name in _IDS})
    instruction: arrow.Column = field(default_factory=lambda: arrow.Column("instruction"))
    response: arrow.Column = field(default_factory=lambda: arrow.Column("response"))
    dialogues: dict[int, list[dict]] = field(default_factory=dict)  # by position; most rows have none
    others: dict[str, arrow.Column] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)

    def keep(self, row: Row, texts: columns.Pair, left_out: set[str]) -> None:
        """Add a usable row; of its other cells those in columns `left_out` are not kept."""
        for name in row.cells:
            if name not in self.others and name not in left_out:  # a key that no row before had
                self.others[name] = arrow.Column(name, n_missing=len(self.lines))
        for name, column in self.others.items():
            column.append(row.cells.get(name))
        for name, values in self.ids.items():
            values.append(row.cells.get(name))
        if texts.dialogue:
            self.dialogues[len(self.lines)] = texts.dialogue
        self.lines.append(row.line)
        self.instruction.append(texts.instruction)
        self.response.append(texts.response)


def load(
    source,
    *,
    instruction: str | None = None,
    response: str | None = None,
    input: str | None = None,
    split: str = "train",
    limit: int | None = None,
) -> datasets.Dataset:
    """The table that later stages work on: `id`, `instruction`, `response` and the source's other columns.

    `source` is one of
    - a file: .jsonl, .ndjson, .json, .csv, .tsv (also .gz) or .parquet, text in UTF-8;
    - a pandas DataFrame or a `datasets.Dataset`;
    - a hub id ("owner/name", of which `split` is taken), from the hub's cache when the hub is out of reach;
    - "package:NAME", the functions of an installed package, docstring -> code, or "package:stdlib";
    - "bundled", the dataset that comes with the workbench.

    Columns are found by their usual names (`columns.KNOWN`) or named with `instruction`, `response` and, for
    a text that follows the instruction on a new line, `input`. Those columns become ours. Any other stays as
    it is, or JSON-encoded where its cells have no type in common; one called like ours gives way to ours.
    In a dialogue the assistant's last turn is the response and all before it the instruction; what follows is
    left out, and where more than one question came before, the column `dialogue` keeps the turns. `id` is the
    row's own `id` or `task_id` where every row has one and no two the same, else
    "file:line". `limit` keeps the first so many usable rows and reads no further.

    A row without two texts is left out, never mended: `RejectedRowsWarning` counts such rows, `rejected(ds)`
    lists them. Raises `MissingFileError` for a path that does not exist, and `UserError` for a source that
    cannot be read, a column that is not there, or when no row is usable.

    Not covered: cells of a CSV file stay text, and rows that say the same are all kept.
    """
    if limit is not None:
        errors.positive("limit", limit)
    named = _named(instruction, response, input)
    opened = open_source(source, split)
    found, rows = _columns_and_rows(opened, named)
    sifted = _sift(opened, found, rows, limit)
    if not sifted.lines:
        raise rejections.nothing_left(opened, sifted.rejections)
    ds = _build(opened, found, sifted)
    if sifted.rejections:
        rejections.warn(opened, sifted.n_read, sifted.rejections)
    given = {"instruction": instruction, "response": response, "input": input, "limit": limit}
    given |= {"split": split if split != "train" else None}
    found = {"columns": ds.column_names, "ids": tables.ids_digest(ds)}
    return tables.note(ds, "load", _as_given(source, given) | found)


def _as_given(source, given: dict) -> dict:
    """The arguments of `load` as far as they say where the rows can be had again."""
    if not isinstance(source, (str, Path)):
        return {}
    return {"source": str(source)} | {name: value for name, value in given.items() if value is not None}


def _named(instruction: str | None, response: str | None, input: str | None) -> Columns | None:
    if instruction is None and response is None and input is None:
        return None
    if instruction is None or response is None:
        raise errors.UserError(
            f"instruction={instruction!r}, response={response!r}, input={input!r}: "
            f"name the columns of both instruction and response, or none at all."
        )
    return Columns(instruction, response, input)


def _columns_and_rows(source: Source, named: Columns | None) -> tuple[Columns, Iterator[Row | Rejection]]:
    """The columns to use, and all rows; of a table's rows only the cells that sifting looks at."""
    if source.table is not None:
        names = source.table.column_names
        found = columns.find(names, named)
        if found is None:
            raise columns.not_found(source.label, names, named)
        return found, table_rows(source.table, [*found.names, *_IDS])
    rows = iter(source.rows)
    head = list(islice(rows, _HEAD))
    if (found := columns.find(_keys(head), named)) is None:
        head += rows
        if not (names := _keys(head)):
            raise rejections.nothing_left(source, head)
        if (found := columns.find(names, named)) is None:
            raise columns.not_found(source.label, names, named)
    return found, chain(head, rows)


def _keys(rows: list[Row | Rejection]) -> list[str]:
    return list(dict.fromkeys(name for row in rows if isinstance(row, Row) for name in row.cells))


def _sift(source: Source, found: Columns, rows: Iterator[Row | Rejection], limit: int | None) -> _Sifted:
    sifted = _Sifted()
    left_out = {*_OURS, *found.names}
    for row in rows:
        sifted.n_read += 1
        if isinstance(row, Rejection):
            sifted.rejections.append(row)
            continue
        try:
            texts = columns.pair(row.cells, found)
        except columns.Unusable as why:
            place = row.source or source.label
            sifted.rejections.append(Rejection(place, row.line, str(why), excerpt(row.cells)))
            continue
        sifted.keep(row, texts, left_out)
        if len(sifted.lines) == limit:
            break
    return sifted


def _build(source: Source, found: Columns, sifted: _Sifted) -> datasets.Dataset:
    own = (_unique_texts(values) for values in sifted.ids.values())
    ids = next((texts for texts in own if texts), None)
    table = pa.table(
        {
            "id": pa.array(ids or [f"{source.stem}:{line}" for line in sifted.lines]),
            "instruction": sifted.instruction.finish(),
            "response": sifted.response.finish(),
        }
    )
    if sifted.dialogues:
        turns = [sifted.dialogues.get(row) for row in range(len(sifted.lines))]
        table = table.append_column("dialogue", pa.array(turns, _DIALOGUE))
    others = _others(source, found, sifted)
    features = datasets.Features.from_arrow_schema(table.schema)
    features.update(datasets.Features.from_arrow_schema(others.schema))
    for name in others.column_names:
        table = table.append_column(name, others[name])
    note = rejections.describe(source, sifted.n_read, sifted.rejections)
    info = datasets.DatasetInfo(description=note, features=features)
    # The default fingerprint, a hash of the pickled table, takes four times its memory, and nothing looks up
    # a table in memory by it.
    return datasets.Dataset(table, info=info, fingerprint=generate_random_fingerprint())


def _others(source: Source, found: Columns, sifted: _Sifted) -> pa.Table:
    """The kept rows' columns that are not ours."""
    if source.table is None:
        return pa.table({name: column.finish() for name, column in sifted.others.items()})
    left_out = {*_OURS, *found.names}
    others = source.table.select([name for name in source.table.column_names if name not in left_out])
    kept = np.zeros(len(others), dtype=bool)
    kept[np.array(sifted.lines) - 1] = True
    return arrow.storable(others if kept.all() else others.filter(pa.array(kept)))


def _unique_texts(values: list) -> list[str] | None:
    """`values` as texts, if each is there and no two are the same."""
    if not all(isinstance(value, (str, int, float)) and not is_missing(value) for value in values):
        return None
    texts = [str(value) for value in values]
    sound = all(text.strip() and columns.is_encodable(text) for text in texts)
    return texts if sound and len(set(texts)) == len(texts) else None

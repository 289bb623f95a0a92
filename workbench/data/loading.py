"""`load`: open a source, identify its columns, separate usable from rejected rows, build the table."""

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

_HEAD = 1000  # rows whose keys determine the columns; if they do not suffice, all rows are read
_IDS = ("id", "task_id")  # columns that may hold the rows' own ids
_STANDARD = ("id", "instruction", "response", "dialogue")
_DIALOGUE = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))


@dataclass(eq=False)
class _Rows:
    """The usable rows, column by column, and the rejected rows."""

    n_read: int = 0
    lines: list[int] = field(default_factory=list)
    ids: dict[str, list] = field(default_factory=lambda: {name: [] for name in _IDS})
    instruction: arrow.Column = field(default_factory=lambda: arrow.Column("instruction"))
    response: arrow.Column = field(default_factory=lambda: arrow.Column("response"))
    dialogues: dict[int, list[dict]] = field(default_factory=dict)  # by row; most rows have none
    others: dict[str, arrow.Column] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)

    def keep(self, row: Row, texts: columns.Pair, left_out: set[str]) -> None:
        """Add a usable row, without its cells in the columns `left_out`."""
        for name in row.cells:
            if name not in self.others and name not in left_out:  # a key that no earlier row had
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
    """Load a dataset of instructions and responses from a file, a table, the hub or a package.

    Parameters
    ----------
    source : one of

        - a file in UTF-8: .jsonl or .ndjson (one object per line), .json (a list of objects, an object with
          one such list, or JSON Lines), .csv, .tsv, each also with .gz; or .parquet;
        - a pandas DataFrame or a `datasets.Dataset`;
        - a hub id "owner/name"; its cache is used if the hub cannot be reached;
        - "package:NAME", the documented functions of an installed package (docstring -> code), or
          "package:stdlib". Nothing is imported or downloaded;
        - "bundled", the dataset that comes with this package.
    instruction, response : names of the columns with the two texts. Default: the first pair that exists of
        instruction/output (with `input`, Alpaca), instruction/response, problem/solution, prompt/completion,
        prompt/response, question/answer, query/response, or a column `messages` or `conversations`.
    input : name of a column whose text is appended to the instruction on a new line, if it is not empty.
    split : the split of a hub dataset.
    limit : stop reading after this number of usable rows.

    Returns a `datasets.Dataset` with the columns

    - `id` : str, the row's own `id` or `task_id` if it is present and unique in all rows, else "file:line";
    - `instruction`, `response` : str, never blank;
    - `dialogue` : only if a row has more than one turn before its response: these turns, as a list of
      {"role", "content"}; null in other rows;
    - the other columns of the source, unchanged, or JSON-encoded if their cells have no common type. They do
      not replace the columns above.

    A cell may hold a dialogue, i.e. a list of messages with role/content or from/value. The assistant's last
    turn is then the response. All turns before it, joined with their speakers, are the instruction, and later
    turns are left out.

    Rows without two usable texts are left out and never repaired. A `RejectedRowsWarning` counts them, and
    `wb.rejected` lists them with line and reason. Raises MissingFileError for a path that does not exist, and
    UserError if the source cannot be read, a column does not exist or is not recognized, or no row is usable.

    Not covered: cells of a CSV file stay text, and duplicate rows are kept (see `wb.mark_duplicates`).

    >>> frame = pd.DataFrame({"task": ["Add two numbers."], "code": ["def add(a, b):\\n    return a + b"]})
    >>> wb.load(frame, instruction="task", response="code").column_names
    ['id', 'instruction', 'response']
    """
    if limit is not None:
        errors.positive("limit", limit)
    named = _named(instruction, response, input)
    opened = open_source(source, split)
    used, stream = _columns_and_rows(opened, named)
    rows = _separate(opened, used, stream, limit)
    if not rows.lines:
        raise rejections.nothing_left(opened, rows.rejections)
    ds = _build(opened, used, rows)
    if rows.rejections:
        rejections.warn(opened, rows.n_read, rows.rejections)
    arguments = {"instruction": instruction, "response": response, "input": input, "limit": limit}
    arguments |= {"split": split if split != "train" else None}
    content = {"columns": ds.column_names, "ids": tables.ids_digest(ds)}
    return tables.note(ds, "load", _reproducible(source, arguments) | content)


def _reproducible(source, arguments: dict) -> dict:
    """Return the arguments of `load` that load the rows again; empty for a table in memory."""
    if not isinstance(source, (str, Path)):
        return {}
    return {"source": str(source)} | {name: value for name, value in arguments.items() if value is not None}


def _named(instruction: str | None, response: str | None, input: str | None) -> Columns | None:
    if instruction is None and response is None and input is None:
        return None
    if instruction is None or response is None:
        raise errors.UserError(
            f"instruction={instruction!r}, response={response!r}, input={input!r}: "
            f"name the columns of both instruction and response, or none of them."
        )
    return Columns(instruction, response, input)


def _columns_and_rows(source: Source, named: Columns | None) -> tuple[Columns, Iterator[Row | Rejection]]:
    """Return the columns to use and all rows. Rows of a table have only the cells with texts and ids."""
    if source.table is not None:
        names = source.table.column_names
        used = columns.find(names, named)
        if used is None:
            raise columns.not_found(source.label, names, named)
        return used, table_rows(source.table, [*used.names, *_IDS])
    rows = iter(source.rows)
    head = list(islice(rows, _HEAD))
    if (used := columns.find(_keys(head), named)) is None:
        head += rows
        if not (names := _keys(head)):
            raise rejections.nothing_left(source, head)
        if (used := columns.find(names, named)) is None:
            raise columns.not_found(source.label, names, named)
    return used, chain(head, rows)


def _keys(rows: list[Row | Rejection]) -> list[str]:
    return list(dict.fromkeys(name for row in rows if isinstance(row, Row) for name in row.cells))


def _separate(source: Source, used: Columns, stream: Iterator[Row | Rejection], limit: int | None) -> _Rows:
    """Separate usable from rejected rows, up to `limit` usable ones."""
    rows = _Rows()
    left_out = {*_STANDARD, *used.names}
    for row in stream:
        rows.n_read += 1
        if isinstance(row, Rejection):
            rows.rejections.append(row)
            continue
        try:
            texts = columns.pair(row.cells, used)
        except columns.Unusable as reason:
            label = row.source or source.label
            rows.rejections.append(Rejection(label, row.line, str(reason), excerpt(row.cells)))
            continue
        rows.keep(row, texts, left_out)
        if len(rows.lines) == limit:
            break
    return rows


def _build(source: Source, used: Columns, rows: _Rows) -> datasets.Dataset:
    own = (_unique_texts(values) for values in rows.ids.values())
    ids = next((texts for texts in own if texts), None)
    table = pa.table(
        {
            "id": pa.array(ids or [f"{source.stem}:{line}" for line in rows.lines]),
            "instruction": rows.instruction.finish(),
            "response": rows.response.finish(),
        }
    )
    if rows.dialogues:
        turns = [rows.dialogues.get(row) for row in range(len(rows.lines))]
        table = table.append_column("dialogue", pa.array(turns, _DIALOGUE))
    others = _others(source, used, rows)
    features = datasets.Features.from_arrow_schema(table.schema)
    features.update(datasets.Features.from_arrow_schema(others.schema))
    for name in others.column_names:
        table = table.append_column(name, others[name])
    note = rejections.describe(source, rows.n_read, rows.rejections)
    info = datasets.DatasetInfo(description=note, features=features)
    # The default fingerprint hashes the pickled table, which takes four times its memory. A table in memory
    # does not need it.
    return datasets.Dataset(table, info=info, fingerprint=generate_random_fingerprint())


def _others(source: Source, used: Columns, rows: _Rows) -> pa.Table:
    """Return the other columns of the usable rows."""
    if source.table is None:
        return pa.table({name: column.finish() for name, column in rows.others.items()})
    left_out = {*_STANDARD, *used.names}
    others = source.table.select([name for name in source.table.column_names if name not in left_out])
    kept = np.zeros(len(others), dtype=bool)
    kept[np.array(rows.lines) - 1] = True
    return arrow.storable(others if kept.all() else others.filter(pa.array(kept)))


def _unique_texts(values: list) -> list[str] | None:
    """Return `values` as strings, or None if one is missing, blank or repeated."""
    if not all(isinstance(value, (str, int, float)) and not is_missing(value) for value in values):
        return None
    texts = [str(value) for value in values]
    usable = all(text.strip() and columns.is_encodable(text) for text in texts)
    return texts if usable and len(set(texts)) == len(texts) else None

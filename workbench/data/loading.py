"""`load`: open a source, identify its columns, separate usable from rejected rows, build the table."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
from datasets.fingerprint import generate_random_fingerprint

from ..core import errors, tables
from . import arrow, columns, rejections, turns, unused
from .columns import Columns
from .rows import Rejection, Row, Source, excerpt, is_missing
from .sources import open_source, table_rows

_HEAD = 1000  # rows whose keys determine the columns; if they do not suffice, all rows are read
_IDS = ("id", "task_id")  # columns that may hold the rows' own ids
_DIALOGUE = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
_UNUSED = "unused_parts"


@dataclass(eq=False)
class _Rows:
    """The usable rows, column by column, and the rejected rows."""

    n_read: int = 0
    lines: list[int] = field(default_factory=list)
    sources: list[str | None] = field(default_factory=list)  # the file of each row, if there are several
    ids: dict[str, list] = field(default_factory=lambda: {name: [] for name in _IDS})
    instruction: arrow.Column = field(default_factory=lambda: arrow.Column("instruction"))
    response: arrow.Column = field(default_factory=lambda: arrow.Column("response"))
    dialogues: dict[int, list[dict]] = field(default_factory=dict)  # by row; most rows have none
    unused: dict[int, list[dict]] = field(default_factory=dict)  # by row, as in `turns.Texts`
    others: dict[str, arrow.Column] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)

    def keep(self, row: Row, texts: turns.Texts, left_out: set[str]) -> None:
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
        if texts.unused:
            self.unused[len(self.lines)] = texts.unused
        self.lines.append(row.line)
        self.sources.append(row.source)
        self.instruction.append(texts.instruction)
        self.response.append(texts.response)


def load(
    source,
    *,
    instruction: str | None = None,
    response: str | None = None,
    input: str | None = None,
    system: str | None = None,
    dialogue: str | None = None,
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
        instruction/output (Alpaca), instruction/response, problem/solution, prompt/completion,
        prompt/response, question/answer, query/response, query/answer, question/response, question/solution,
        input/output, prompt/canonical_solution, text/code and prompt/code. If you name one of the two, the
        other is recognized. Names match without regard to case and outer blanks.
    input : name of a column whose text is appended to the instruction on a new line, if it is not empty.
        Default: `input` or `context` beside an instruction, `context` beside a question.
    system : name of a column with the text of a system turn, which opens the prompt. Default: `system` or
        `system_prompt`. Earlier turns in a column `history`, as (question, answer) pairs, follow it.
    dialogue : name of a column that holds whole dialogues; beside `response`, the turns before the response.
        Default: `messages`, `conversations`, `conversation`, `dialogue`, `dialog` or `chat`, if no pair of
        the list above exists.
    split : the split of a hub dataset.
    limit : stop reading after this number of usable rows.

    Returns a `datasets.Dataset` with the columns

    - `id` : str, the row's own `id` or `task_id` if it is present and unique in all rows, else "file:line";
    - `instruction`, `response` : str, never blank;
    - `dialogue` : only if a row has more than one turn before its response: these turns, as a list of
      {"role", "content"}; null in other rows;
    - `unused_parts` : only if messages have parts that are no text of the sample, e.g. tool calls, images, or
      turns after the response: these parts as JSON, a list of objects with `column` and `message` (from 1);
    - the other columns of the source, unchanged, or JSON-encoded if their cells have no common type. A column
      that has the name of a column above, or of a part of the prompt that it is not used for, is called
      `source_NAME`. Loading a saved table again therefore gives the same table.

    A cell may hold a dialogue, i.e. a list of messages with role/content or from/value, also as JSON text.
    The assistant's last turn is then the response. All turns before it, joined with their speakers, are the
    instruction.

    Rows without two usable texts are left out and never repaired. A `RejectedRowsWarning` counts them, and
    `wb.rejected` lists them with line and reason. An `UnusedPartsWarning` names renamed columns and counts
    the rows with unused parts. Raises MissingFileError for a path that does not exist, and UserError if the
    source cannot be read, a column does not exist or is not recognized, or no row is usable.

    Not covered: cells of a CSV file stay text, and duplicate rows are kept (see `wb.mark_duplicates`).

    >>> frame = pd.DataFrame({"task": ["Add two numbers."], "code": ["def add(a, b):\\n    return a + b"]})
    >>> wb.load(frame, instruction="task", response="code").column_names
    ['id', 'instruction', 'response']
    """
    if limit is not None:
        errors.positive("limit", limit)
        limit = int(limit)
    named = _named(instruction=instruction, response=response, input=input, system=system, dialogue=dialogue)
    opened = open_source(source, split)
    used, stream = _columns_and_rows(opened, named)
    rows = _separate(opened, used, stream, limit)
    if not rows.lines:
        raise rejections.nothing_left(opened, rows.rejections)
    ds, new_names = _build(opened, used, rows)
    if rows.rejections:
        rejections.warn(opened, rows.n_read, rows.rejections)
    unused.warn(opened.label, used, named, new_names, rows.unused.values(), _UNUSED)
    arguments = {**named._asdict(), "limit": limit, "split": split if split != "train" else None}
    content = {"columns": ds.column_names, "ids": tables.ids_digest(ds)}
    return tables.note(ds, "load", _reproducible(source, arguments) | content)


def _reproducible(source, arguments: dict) -> dict:
    """Return the arguments of `load` that load the rows again; empty for a table in memory."""
    if not isinstance(source, (str, Path)):
        return {}
    return {"source": str(source)} | {name: value for name, value in arguments.items() if value is not None}


def _named(**names: str | None) -> Columns:
    for parameter, name in names.items():
        if name is not None and not isinstance(name, str):
            raise errors.UserError(f"{parameter}={name!r} must be the name of a column.")
    if names["dialogue"] is not None and names["instruction"] is not None and names["response"] is None:
        raise errors.UserError(
            f"instruction={names['instruction']!r}, dialogue={names['dialogue']!r}: a column of whole "
            f"dialogues holds the instructions, too; name only dialogue=, or response= as well."
        )
    return Columns(**names)


def _columns_and_rows(source: Source, named: Columns) -> tuple[Columns, Iterator[Row | Rejection]]:
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
    left_out = {"id", *used.names}
    for row in stream:
        rows.n_read += 1
        if isinstance(row, Rejection):
            rows.rejections.append(row)
            continue
        try:
            texts = turns.texts_of(row.cells, used)
        except turns.Unusable as reason:
            label = row.source or source.label
            rows.rejections.append(Rejection(label, row.line, str(reason), excerpt(row.cells)))
            continue
        rows.keep(row, texts, left_out)
        if len(rows.lines) == limit:
            break
    return rows


def _build(source: Source, used: Columns, rows: _Rows) -> tuple[datasets.Dataset, dict[str, str]]:
    """Return the table, and the new names of columns of the source that are renamed."""
    own = ((name, _unique_texts(values)) for name, values in rows.ids.items())
    id_column, ids = next(((name, texts) for name, texts in own if texts), (None, None))
    table = pa.table(
        {
            "id": pa.array(ids or _places(source, rows)),
            "instruction": rows.instruction.finish(),
            "response": rows.response.finish(),
        }
    )
    if rows.dialogues:
        cells = [rows.dialogues.get(row) for row in range(len(rows.lines))]
        table = table.append_column("dialogue", pa.array(cells, _DIALOGUE))
    if rows.unused:
        cells = [rows.unused.get(row) for row in range(len(rows.lines))]
        cells = [None if cell is None else json.dumps(cell, default=str) for cell in cells]
        table = table.append_column(_UNUSED, pa.array(cells, pa.string()))
    others = _others(source, used, rows, keep_id=id_column != "id")
    new_names = columns.renamed(others.column_names, table.column_names)
    features = datasets.Features.from_arrow_schema(table.schema)
    for name, feature in datasets.Features.from_arrow_schema(others.schema).items():
        new_name = new_names.get(name, name)
        features[new_name] = feature
        table = table.append_column(new_name, others[name])
    note = rejections.describe(source, rows.n_read, rows.rejections)
    info = datasets.DatasetInfo(description=note, features=features)
    # The default fingerprint hashes the pickled table, which takes four times its memory. A table in memory
    # does not need it.
    return datasets.Dataset(table, info=info, fingerprint=generate_random_fingerprint()), new_names


def _places(source: Source, rows: _Rows) -> list[str]:
    """Return an id for each row: its file and line."""
    return [f"{name or source.stem}:{line}" for name, line in zip(rows.sources, rows.lines, strict=True)]


def _others(source: Source, used: Columns, rows: _Rows, keep_id: bool) -> pa.Table:
    """Return the other columns of the usable rows; the column `id` only if `keep_id`."""
    if source.table is None:
        others = {name: column.finish() for name, column in rows.others.items()}
        if keep_id and any(cell is not None for cell in rows.ids["id"]) and "id" not in used.names:
            column = arrow.Column("id")
            for cell in rows.ids["id"]:
                column.append(cell)
            others = {"id": column.finish()} | others
        return pa.table(others)
    left_out = {*used.names, *([] if keep_id else ["id"])}
    others = source.table.select([name for name in source.table.column_names if name not in left_out])
    kept = np.zeros(len(others), dtype=bool)
    kept[np.array(rows.lines) - 1] = True
    return arrow.storable(others if kept.all() else others.filter(pa.array(kept)))


def _unique_texts(values: list) -> list[str] | None:
    """Return `values` as strings, or None if one is missing, blank or repeated."""
    if not all(isinstance(value, (str, int, float)) and not is_missing(value) for value in values):
        return None
    texts = [str(value) for value in values]
    usable = all(text.strip() and turns.is_encodable(text) for text in texts)
    return texts if usable and len(set(texts)) == len(texts) else None

"""Build the table of a source from its usable rows."""

import json
from collections import Counter
from dataclasses import dataclass, field

import datasets
import numpy as np
import pyarrow as pa
from datasets.fingerprint import generate_random_fingerprint

from . import arrow, columns, rejections, turns
from .columns import Columns
from .rows import Rejection, Row, Source, is_missing

IDS = ("id", "task_id")  # columns that may hold the rows' own ids
_DIALOGUE = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
UNUSED = "unused_parts"


@dataclass(eq=False)
class UsableRows:
    """The usable rows, column by column, and the rejected rows."""

    n_read: int = 0
    lines: list[int] = field(default_factory=list)
    sources: list[str | None] = field(default_factory=list)  # the file of each row, if there are several
    ids: dict[str, list] = field(default_factory=lambda: {name: [] for name in IDS})
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


def build(source: Source, used: Columns, rows: UsableRows) -> tuple[datasets.Dataset, dict[str, str]]:
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
        table = table.append_column(UNUSED, pa.array(cells, pa.string()))
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


def _places(source: Source, rows: UsableRows) -> list[str]:
    """Return an id for each row: its file and line, and its number on the line from the second one on."""
    places = list(zip(rows.sources, rows.lines, strict=True))
    numbers, counts = [], Counter()
    for place in places:
        counts[place] += 1
        numbers.append(counts[place])
    return [
        f"{name or source.stem}:{line}" + (f"-{number}" if number > 1 else "")
        for (name, line), number in zip(places, numbers, strict=True)
    ]


def _others(source: Source, used: Columns, rows: UsableRows, keep_id: bool) -> pa.Table:
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

"""Rows -> the files that trainers read. Texts are written as they are, character for character."""

import json
from collections.abc import Iterator
from pathlib import Path

import datasets

from ..core import tables
from ..core.errors import UserError

# Format -> its file; None: the folder itself, as `save_to_disk` fills it.
FILES = {
    "alpaca": "data.json",
    "sharegpt": "data.json",
    "messages": "data.jsonl",
    "parquet": "data.parquet",
    "dataset": None,
}
_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}
_MESSAGES = [{"role": datasets.Value("string"), "content": datasets.Value("string")}]
_TEXTS = ("instruction", "response", "dialogue")


def conversations(ds: datasets.Dataset) -> Iterator[list[dict]]:
    """The turns ("role", "content") of each row: its question, or its `dialogue`, and the response."""
    dialogues = ds["dialogue"] if "dialogue" in ds.column_names else [None] * len(ds)
    for (instruction, response), dialogue in zip(tables.texts(ds), dialogues, strict=True):
        asked = dialogue or [{"role": "user", "content": instruction}]
        yield [*asked, {"role": "assistant", "content": response}]


def write(ds: datasets.Dataset, folder: Path, format: str) -> None:
    """Write `ds` into `folder` in one of `FILES`.

    The JSON formats hold `id` and the turns; "parquet" and "dataset" hold all other columns too.
    """
    if format in ("parquet", "dataset"):
        table = _as_messages(ds)
        if format == "dataset":
            with tables.without_bars():
                table.save_to_disk(folder)
        else:
            tables.write_parquet(table, folder / FILES[format])
        return
    rows = (json.dumps(row, ensure_ascii=False) for row in _ROWS[format](ds))
    with (folder / FILES[format]).open("w", encoding="utf-8", newline="\n") as file:
        if format == "messages":
            file.writelines(row + "\n" for row in rows)
        else:
            file.write("[")
            file.writelines(("," if at else "") + "\n" + row for at, row in enumerate(rows))
            file.write("\n]\n")


def _ids(ds: datasets.Dataset) -> Iterator[dict]:
    """What identifies each row, where something does."""
    if "id" not in ds.column_names:
        return iter([{}] * len(ds))
    return ({"id": found} for found in ds["id"])


def _alpaca(ds: datasets.Dataset) -> Iterator[dict]:
    for row, (name, turns) in enumerate(zip(_ids(ds), conversations(ds), strict=True)):
        if len(turns) > 2:
            raise UserError(
                f"format='alpaca' holds one question and its answer; row {row} ({name.get('id', '?')}) is "
                f"a dialogue of {len(turns)} turns; use format='messages' or 'sharegpt'."
            )
        yield name | {"instruction": turns[0]["content"], "input": "", "output": turns[1]["content"]}


def _sharegpt(ds: datasets.Dataset) -> Iterator[dict]:
    for name, turns in zip(_ids(ds), conversations(ds), strict=True):
        yield name | {
            "conversations": [{"from": _SHAREGPT[turn["role"]], "value": turn["content"]} for turn in turns]
        }


def _messages(ds: datasets.Dataset) -> Iterator[dict]:
    for name, turns in zip(_ids(ds), conversations(ds), strict=True):
        yield name | {"messages": turns}


_ROWS = {"alpaca": _alpaca, "sharegpt": _sharegpt, "messages": _messages}


def _as_messages(ds: datasets.Dataset) -> datasets.Dataset:
    """`ds` with the column `messages` in place of its texts."""
    table = tables.with_columns(ds, {"messages": list(conversations(ds))}, {"messages": _MESSAGES})
    others = [name for name in table.column_names if name not in ("id", "messages", *_TEXTS)]
    return table.select_columns([*(["id"] if "id" in table.column_names else []), "messages", *others])

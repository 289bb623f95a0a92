"""Write rows in the formats that trainers read. Texts are written character for character."""

import json
from collections.abc import Iterator
from pathlib import Path

import datasets

from ..core import tables
from ..core.errors import UserError
from ..data.turns import SHAREGPT_ROLES

# Format -> its file; None for a folder that `save_to_disk` fills.
FILES = {
    "alpaca": "data.json",
    "sharegpt": "data.json",
    "messages": "data.jsonl",
    "parquet": "data.parquet",
    "dataset": None,
}
_MESSAGES = [{"role": datasets.Value("string"), "content": datasets.Value("string")}]
_TEXTS = ("instruction", "response", "dialogue")


def conversations(ds: datasets.Dataset) -> Iterator[list[dict]]:
    """The turns of each row as {"role", "content"}: its instruction or `dialogue`, and the response."""
    for (instruction, response), dialogue in zip(tables.texts(ds), tables.dialogues(ds), strict=True):
        prompt = dialogue or [{"role": "user", "content": instruction}]
        yield [*prompt, {"role": "assistant", "content": response}]


def write(ds: datasets.Dataset, folder: Path, format: str) -> None:
    """Write `ds` to `folder` in a format of `FILES`.

    The JSON formats have `id` and the turns; "parquet" and "dataset" have all other columns too.
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
            file.writelines(("," if i else "") + "\n" + row for i, row in enumerate(rows))
            file.write("\n]\n")


def _ids(ds: datasets.Dataset) -> Iterator[dict]:
    """{"id": ...} for each row; empty without a column `id`."""
    if "id" not in ds.column_names:
        return iter([{}] * len(ds))
    return ({"id": row_id} for row_id in ds["id"])


def _alpaca(ds: datasets.Dataset) -> Iterator[dict]:
    for row, (row_id, turns) in enumerate(zip(_ids(ds), conversations(ds), strict=True)):
        if len(turns) > 2:
            raise UserError(
                f"format='alpaca' takes one question and its answer; row {row} ({row_id.get('id', '?')}) is "
                f"a dialogue of {len(turns)} turns; use format='messages' or 'sharegpt'."
            )
        yield row_id | {"instruction": turns[0]["content"], "input": "", "output": turns[1]["content"]}


def _sharegpt(ds: datasets.Dataset) -> Iterator[dict]:
    for row_id, turns in zip(_ids(ds), conversations(ds), strict=True):
        yield row_id | {
            "conversations": [
                {"from": SHAREGPT_ROLES[turn["role"]], "value": turn["content"]} for turn in turns
            ]
        }


def _messages(ds: datasets.Dataset) -> Iterator[dict]:
    for row_id, turns in zip(_ids(ds), conversations(ds), strict=True):
        yield row_id | {"messages": turns}


_ROWS = {"alpaca": _alpaca, "sharegpt": _sharegpt, "messages": _messages}


def _as_messages(ds: datasets.Dataset) -> datasets.Dataset:
    """`ds` with a column `messages` in place of its texts."""
    table = tables.with_columns(ds, {"messages": list(conversations(ds))}, {"messages": _MESSAGES})
    others = [name for name in table.column_names if name not in ("id", "messages", *_TEXTS)]
    return table.select_columns([*(["id"] if "id" in table.column_names else []), "messages", *others])

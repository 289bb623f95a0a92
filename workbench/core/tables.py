"""Small helpers for the tables (`datasets.Dataset`) that flow through the stages."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import UserError

FLOAT = datasets.Value("float64")
FLOAT32 = datasets.Value("float32")
INT = datasets.Value("int64")
TEXT = datasets.Value("string")
_NOTE = "workbench."
_DESCRIPTION = b"workbench.description"  # of a dataset, among the metadata of a Parquet file
_LENGTH_SLACK = 0.01  # what half precision does to a unit vector


def vector(d: int) -> datasets.List:
    """Feature of `d` float32 in each row."""
    return datasets.List(datasets.Value("float32"), length=d)


def with_columns(ds: datasets.Dataset, columns: dict, features: dict) -> datasets.Dataset:
    """`ds` with `columns` added, in place of those of the same name."""
    ds = ds.remove_columns([name for name in columns if name in ds.column_names])
    if not len(ds):  # concatenating would drop the columns of an empty table
        return datasets.Dataset.from_dict(
            {name: [] for name in [*ds.column_names, *columns]},
            features=datasets.Features(ds.features | features),
        )
    added = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    with without_bars():
        return datasets.concatenate_datasets([ds, added], axis=1)


@contextmanager
def without_bars():
    """A bar for a copy that takes an instant only buries those that a person waits for."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def require(ds: datasets.Dataset, columns: Sequence[str], made_by: str) -> None:
    """Raise unless `ds` has all of `columns`, saying which stage makes them."""
    missing = [name for name in columns if name not in ds.column_names]
    if missing:
        raise UserError(
            f"column {missing[0]!r} is missing from the dataset (it has {', '.join(ds.column_names)}); "
            f"make it with {made_by} first."
        )


def write_parquet(ds: datasets.Dataset, path: Path) -> None:
    """Its description, with what was noted and left out, goes along; `description` finds it."""
    table = ds.with_format("arrow")[:]
    metadata = (table.schema.metadata or {}) | {_DESCRIPTION: (ds.info.description or "").encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def description(table: pa.Table) -> str:
    """What `write_parquet` wrote of the dataset's; empty in other files."""
    return (table.schema.metadata or {}).get(_DESCRIPTION, b"").decode()


def write_jsonl(ds: datasets.Dataset, path: Path) -> None:
    """A JSON object a line, text as it is."""
    with path.open("w", encoding="utf-8") as file:
        for row in ds:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def texts(ds: datasets.Dataset) -> Iterator[tuple[str, str]]:
    """Instruction and response of each row; raises where a row lacks one."""
    require(ds, ["instruction", "response"], "wb.load")
    for row, pair in enumerate(zip(ds["instruction"], ds["response"], strict=True)):
        for name, text in zip(("instruction", "response"), pair, strict=True):
            if not isinstance(text, str):
                raise UserError(f"{name} of row {row} is {text!r}, not text; wb.load leaves such rows out.")
        yield pair


def rows_sha256(ds: datasets.Dataset) -> str:
    """Hash of what is trained on: of each row its JSON list [instruction, response] on a line of its own.

    Ids, scores and the file format take no part, so that a model and any export of its rows can be matched.
    """
    found = hashlib.sha256()
    for pair in texts(ds):
        found.update(json.dumps(pair, ensure_ascii=False).encode() + b"\n")
    return found.hexdigest()


def array(ds: datasets.Dataset, column: str) -> np.ndarray:
    """A column as a NumPy array: nulls of float columns as NaN, vectors as [rows, d].

    A column without nulls that lies in one piece is not copied.
    """
    chunks = ds.select_columns([column]).with_format("arrow")[:][column]
    data = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    if pa.types.is_fixed_size_list(data.type):
        return data.flatten().to_numpy(zero_copy_only=False).reshape(len(data), -1)
    return data.to_numpy(zero_copy_only=False)


def vectors(ds: datasets.Dataset) -> np.ndarray:
    """The column `embedding` as float32 [n, d], not copied where it is stored so. UserError unless each is of
    unit length."""
    require(ds, ["embedding"], "wb.embed")
    if not len(ds):
        return np.zeros((0, 0), np.float32)
    found = array(ds, "embedding")
    try:
        if found.ndim == 1:  # lists of any length, as files and `add_column` give them
            found = np.stack(found)
        found = found.astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"column 'embedding' does not hold vectors of one length: {error}.") from None
    length = np.sqrt(np.einsum("ij,ij->i", found, found))
    wrong = np.flatnonzero(~(np.abs(length - 1) < _LENGTH_SLACK))  # NaN, too
    if len(wrong):
        raise UserError(
            f"column 'embedding', row {wrong[0]}: length {length[wrong[0]]:.3g}; vectors must be finite and "
            "of unit length, as wb.embed makes them."
        )
    return found


def note(ds: datasets.Dataset, stage: str, settings: dict) -> datasets.Dataset:
    """`ds` with the `settings` of `stage` in place of earlier ones: a line of JSON in its description.

    The description is the one text of a dataset that lives through select, map and save_to_disk.
    """
    noted = ds.select(range(len(ds)))
    noted.info.description = "\n".join([*_other_lines(ds, stage), json.dumps({_NOTE + stage: settings})])
    return noted


def noted(ds: datasets.Dataset, stage: str) -> dict:
    """What `note` wrote for `stage`; empty where there is none."""
    for line in reversed((ds.info.description or "").split("\n")):
        if line.startswith(_start(stage)):
            return json.loads(line)[_NOTE + stage]
    return {}


def notes(ds: datasets.Dataset) -> dict[str, dict]:
    """All that `note` wrote, by stage, in the order in which it was written."""
    found = {}
    for line in (ds.info.description or "").split("\n"):
        if line.startswith(f'{{"{_NOTE}'):
            ((name, settings),) = json.loads(line).items()
            stage = name.removeprefix(_NOTE)
            found.pop(stage, None)  # the last one counts, in its place
            found[stage] = settings
    return found


def ids_digest(ds: datasets.Dataset) -> str:
    """Hash of the column `id`: the same for the same rows in the same order; empty without ids."""
    if "id" not in ds.column_names:
        return ""
    return hashlib.blake2b("\n".join(map(str, ds["id"][:])).encode(), digest_size=16).hexdigest()


def _start(stage: str) -> str:
    return json.dumps({_NOTE + stage: {}})[:-2]  # up to the settings' opening brace


def _other_lines(ds: datasets.Dataset, stage: str) -> list[str]:
    return [line for line in (ds.info.description or "").split("\n") if not line.startswith(_start(stage))]

"""Read and write tables (`datasets.Dataset`), and record the settings that produced their columns."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import UserError
from .folders import new_content
from .storage import RemotePath

FLOAT = datasets.Value("float64")
FLOAT32 = datasets.Value("float32")
INT = datasets.Value("int64")
TEXT = datasets.Value("string")
_BATCH = 1000  # rows
_PREFIX = "workbench."  # of the key of recorded settings
_DESCRIPTION = b"workbench.description"  # key of the dataset's description in the metadata of a Parquet file
_NORM_TOLERANCE = 0.01  # covers unit vectors in half precision


def vector(d: int) -> datasets.List:
    """Return the feature of a column that holds float32 [d] in each row."""
    return datasets.List(datasets.Value("float32"), length=d)


def with_columns(ds: datasets.Dataset, columns: dict, features: dict) -> datasets.Dataset:
    """Return `ds` with `columns` added; they replace columns of the same name."""
    ds = ds.remove_columns([name for name in columns if name in ds.column_names])
    if not len(ds):  # concatenate_datasets would drop the columns of an empty table
        return datasets.Dataset.from_dict(
            {name: [] for name in [*ds.column_names, *columns]},
            features=datasets.Features(ds.features | features),
        )
    added = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    with without_bars():
        return datasets.concatenate_datasets([ds, added], axis=1)


@contextmanager
def without_bars():
    """Context in which `datasets` shows no bars: those of quick copies would hide the relevant ones."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def require(ds: datasets.Dataset, columns: Sequence[str], made_by: str) -> None:
    """Raise UserError unless `ds` has all `columns`; the message says to call `made_by` first."""
    missing = [name for name in columns if name not in ds.column_names]
    if missing:
        raise UserError(
            f"column {missing[0]!r} is missing from the dataset (it has {', '.join(ds.column_names)}); "
            f"make it with {made_by} first."
        )


def write_parquet(ds: datasets.Dataset, path: str | Path | RemotePath) -> None:
    """Write `ds` to a Parquet file, with its description (recorded settings, rejected rows) as metadata.

    A failure leaves an earlier file unchanged.
    """
    table = ds.with_format("arrow")[:]
    metadata = (table.schema.metadata or {}) | {_DESCRIPTION: (ds.info.description or "").encode()}
    with new_content(path) as scratch:
        pq.write_table(table.replace_schema_metadata(metadata), scratch)


def description(table: pa.Table) -> str:
    """Return the dataset description that `write_parquet` stored; empty for other files."""
    return (table.schema.metadata or {}).get(_DESCRIPTION, b"").decode()


def write_jsonl(ds: datasets.Dataset, path: str | Path | RemotePath) -> None:
    """Write one JSON object per line, in UTF-8 without ASCII escapes.

    JSON has no NaN and no infinity, they become null. Dates and times become ISO 8601 text, bytes their text
    in UTF-8 with escapes for other bytes, and other values of types that JSON lacks their `str`. The file
    replaces an earlier one only when it is complete.
    """
    with new_content(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        for row in ds:
            file.write(_json(row) + "\n")


def _json(row: dict) -> str:
    try:
        return json.dumps(row, ensure_ascii=False, default=_as_text, allow_nan=False)
    except ValueError:  # NaN or infinity
        text = json.dumps(row, ensure_ascii=False, default=_as_text)
        return json.dumps(json.loads(text, parse_constant=lambda name: None), ensure_ascii=False)


def _as_text(value: object) -> str:
    """Return a value of a type that JSON lacks as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def cells(ds: datasets.Dataset, columns: Sequence[str]) -> Iterator[tuple]:
    """Yield the cells of `columns` row by row; only one batch at a time is a Python list."""
    for batch in ds.select_columns(list(columns)).with_format("arrow").iter(_BATCH):
        yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)


def texts(ds: datasets.Dataset) -> Iterator[tuple[str, str]]:
    """Yield (instruction, response) of each row. Raises UserError if one of them is not a string."""
    require(ds, ["instruction", "response"], "wb.load")
    for row, pair in enumerate(zip(ds["instruction"], ds["response"], strict=True)):
        for name, text in zip(("instruction", "response"), pair, strict=True):
            if not isinstance(text, str):
                raise UserError(f"{name} of row {row} is {text!r}, not text; wb.load leaves such rows out.")
        yield pair


def dialogues(ds: datasets.Dataset) -> Iterable[list[dict] | None]:
    """Return the turns before the response of each row, or None where the instruction is the only turn."""
    return ds["dialogue"] if "dialogue" in ds.column_names else repeat(None, len(ds))


def rows_sha256(ds: datasets.Dataset) -> str:
    """Return the SHA-256, as hex, of what is trained on: one line of JSON per row.

    The line is the list [instruction, response], or [instruction, response, turns] if the row has a
    `dialogue`, with turns as a list of [role, content]. The hash does not depend on ids, other columns or the
    file format, so any two copies of the rows can be matched.
    """
    sha256 = hashlib.sha256()
    for pair, dialogue in zip(texts(ds), dialogues(ds), strict=True):
        turns = [[turn["role"], turn["content"]] for turn in dialogue or ()]
        line = [*pair, turns] if turns else pair
        sha256.update(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return sha256.hexdigest()


def array(ds: datasets.Dataset, column: str) -> np.ndarray:
    """Return a column as a NumPy array [n], or [n, d] for vectors. Nulls of float columns become NaN.

    The array shares memory with the table if the column has no nulls and consists of one Arrow chunk.
    """
    chunks = ds.select_columns([column]).with_format("arrow")[:][column]
    cells = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    if pa.types.is_fixed_size_list(cells.type):
        return cells.flatten().to_numpy(zero_copy_only=False).reshape(len(cells), -1)
    return cells.to_numpy(zero_copy_only=False)


def vectors(ds: datasets.Dataset) -> np.ndarray:
    """Return the column `embedding` as float32 [n, d], without a copy if it is stored that way.

    Raises UserError unless all vectors have one dimension, finite values and unit length.
    """
    require(ds, ["embedding"], "wb.embed")
    if not len(ds):
        return np.zeros((0, 0), np.float32)
    cells = ds.select_columns(["embedding"]).with_format("arrow")[:]["embedding"]
    if cells.null_count:
        row = int(np.flatnonzero(cells.is_null().to_numpy())[0])
        raise UserError(
            f"column 'embedding', row {row}: no vector ({cells.null_count:,} of {len(ds):,} rows have none, "
            f"e.g. after concatenation with a table without embeddings); embed all rows with wb.embed."
        )
    embedding = array(ds, "embedding")
    try:
        if embedding.ndim == 1:  # lists of variable length, as files and `add_column` make them
            embedding = np.stack(embedding)
        embedding = embedding.astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"column 'embedding' does not hold vectors of one length: {error}.") from None
    norms = np.sqrt(np.einsum("ij,ij->i", embedding, embedding))
    invalid = np.flatnonzero(~(np.abs(norms - 1) < _NORM_TOLERANCE))  # includes NaN
    if len(invalid):
        raise UserError(
            f"column 'embedding', row {invalid[0]}: length {norms[invalid[0]]:.3g}; vectors must be finite "
            "and of unit length, as wb.embed makes them."
        )
    return embedding


def note(ds: datasets.Dataset, stage: str, settings: dict) -> datasets.Dataset:
    """Return `ds` with the `settings` of `stage` recorded; they replace earlier settings of the same stage.

    They become a line of JSON in the dataset's description, because the description is the only text that
    survives select, map and save_to_disk.
    """
    annotated = ds.select(range(len(ds)))
    line = json.dumps({_PREFIX + stage: settings})
    annotated.info.description = "\n".join([*_other_lines(ds, stage), line])
    return annotated


def noted(ds: datasets.Dataset, stage: str) -> dict:
    """Return the settings that `note` recorded for `stage`; empty if there are none."""
    for line in reversed((ds.info.description or "").split("\n")):
        if line.startswith(_start(stage)):
            return json.loads(line)[_PREFIX + stage]
    return {}


def notes(ds: datasets.Dataset) -> dict[str, dict]:
    """Return all settings that `note` recorded, by stage, in the order in which they were recorded."""
    settings_by_stage = {}
    for line in (ds.info.description or "").split("\n"):
        if line.startswith(f'{{"{_PREFIX}'):
            ((name, settings),) = json.loads(line).items()
            stage = name.removeprefix(_PREFIX)
            settings_by_stage.pop(stage, None)  # a repeated stage moves to its last position
            settings_by_stage[stage] = settings
    return settings_by_stage


def ids_digest(ds: datasets.Dataset) -> str:
    """Return a 128-bit hash, as hex, of the column `id` in row order; empty without that column."""
    if "id" not in ds.column_names:
        return ""
    return hashlib.blake2b("\n".join(map(str, ds["id"][:])).encode(), digest_size=16).hexdigest()


def _start(stage: str) -> str:
    return json.dumps({_PREFIX + stage: {}})[:-2]  # up to the opening brace of the settings


def _other_lines(ds: datasets.Dataset, stage: str) -> list[str]:
    return [line for line in (ds.info.description or "").split("\n") if not line.startswith(_start(stage))]

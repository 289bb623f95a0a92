"""Open anything that `load` accepts as a `Source`."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

import datasets
import numpy as np
import pandas as pd

from ..core import progress, storage, tables
from ..core.errors import MissingFileError, UserError
from . import files, folders, functions, hub
from .json_files import rows_of_columns
from .named import named
from .rows import Rejection, Row, Source, kind
from .text import UTF_8, TextFile

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def bundled_dir() -> Path:
    """Return the folder of the bundled data, in an installed wheel or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_bundled"
    # Checked first: beside an installed package, a folder called `data` belongs to something else.
    return installed if installed.is_dir() else package.parent / "data"


def open_source(
    source: object, place: hub.Place, encoding: str = UTF_8, storage_options: dict | None = None
) -> Source:
    """Open anything that `load` accepts. Text files are read lazily.

    Raises MissingFileError for a path that does not exist, and UserError for an unsupported source.
    """
    if storage_options or storage.is_url(source):
        return _from_path(storage.as_path(source, storage_options), place, encoding)
    if isinstance(source, (Path, storage.RemotePath)):
        return _from_path(source, place, encoding)
    if not isinstance(source, str):
        return _from_memory(source, place.split)
    if dataset := named(source):
        progress.say(f"{source}: {dataset}")
        source = dataset.hub_id
    if source == "bundled":
        return _from_file(bundled_dir() / "instructions.jsonl", encoding)
    if source.startswith("package:"):
        name = source.removeprefix("package:")
        return Source(source, name, rows=functions.package_rows(name), unit="line")
    if _is_hub_id(source):
        return _from_memory(hub.dataset(source, place), place.split, source)
    return _from_path(Path(source), place, encoding)


def _from_memory(source: object, split: str, label: str | None = None) -> Source:
    """Open a table or rows in memory."""
    kind_of_source = type(source).__name__
    if isinstance(source, pd.DataFrame):
        return Source("DataFrame", "dataframe", rows=_frame_rows(source))
    if hasattr(source, "to_arrow") and hasattr(source, "columns"):  # a polars DataFrame
        return Source("DataFrame", "dataframe", table=source.to_arrow())
    label = label or kind_of_source
    if isinstance(source, (datasets.DatasetDict, datasets.IterableDatasetDict)):
        source = files.one_split(source, label, split)
    if isinstance(source, datasets.Dataset):
        return _from_dataset(source, label)
    if isinstance(source, datasets.IterableDataset):
        return Source(label, label.lower(), rows=_dict_rows(source, label))
    if isinstance(source, dict) and (rows := rows_of_columns(source)) is not None:
        return Source("dict", "dict", rows=_dict_rows(rows, "dict"))
    if isinstance(source, (list, tuple)):
        return Source(label, label, rows=_dict_rows(source, label))
    raise UserError(
        f"source is of type {kind_of_source}; give a path, a hub id, 'package:NAME', 'bundled', a list of "
        f"dicts, a dict of lists, a pandas or polars DataFrame, or a dataset of the datasets library."
    )


def _dict_rows(rows: Iterable, label: str) -> Iterator[Row | Rejection]:
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            yield Row(number, row)
        else:
            yield Rejection(label, number, f"the row is {kind(row)}, not a dict", str(row)[:80])


def _is_hub_id(source: str) -> bool:
    path = Path(source)
    if path.expanduser().exists() or files.suffix(path) in files.SUFFIXES or folders.is_pattern(path):
        return False
    return _HUB_ID.fullmatch(source) is not None


def _from_dataset(ds: datasets.Dataset, label: str) -> Source:
    table = ds.with_format("arrow")[:]
    # The metadata holds feature types that Arrow does not have, e.g. class labels and images.
    table = table.replace_schema_metadata(ds.features.arrow_schema.metadata)
    stem = "dataset" if label == "Dataset" else label
    return Source(label, stem, table=table, notes=ds.info.description)


def _from_path(path: Path | storage.RemotePath, place: hub.Place, encoding: str) -> Source:
    """Open a file, a folder, or the files of a pattern."""
    label, path = str(path), path.expanduser()
    if folders.is_pattern(path):
        paths = storage.matching(path)
        names = {part.as_posix(): part for part in paths}
        return _from_files(names, label, path.name, encoding)
    if not path.is_dir():
        return _from_file(path, encoding, label)
    if files.is_saved_dataset(path):
        return _from_dataset(files.read_saved_dataset(path, place.split), label)
    paths = folders.data_files(path, place.split)
    if not paths and functions.python_files(path):
        return Source(label, path.name, rows=folders.python_rows(path), unit="line")
    if not paths:
        raise UserError(f"{label} is a folder without a file to read ({_suffixes()}).")
    return _from_files(
        {part.relative_to(path).as_posix(): part for part in paths}, label, path.name, encoding
    )


def _from_files(paths: dict[str, Path | storage.RemotePath], label: str, stem: str, encoding: str) -> Source:
    sources = {name: _from_file(path, encoding) for name, path in paths.items()}
    if len(sources) == 1:
        return next(iter(sources.values()))
    return folders.joined(sources, label, stem)


def _from_file(path: Path | storage.RemotePath, encoding: str, label: str | None = None) -> Source:
    label = label or str(path)
    if not path.exists():
        raise _missing(path)
    suffix = files.suffix(path)
    if suffix not in files.SUFFIXES:
        raise UserError(f"{label} has the suffix {suffix!r}; give a file with {_suffixes()}.")
    files.check_content(path, label, encoding)
    stem = path.name[: -len(suffix)]
    if suffix in files.TABLES:
        table = files.read_table(path, label)
        return Source(label, stem, table=table, notes=tables.description(table))
    unit = "row" if suffix.startswith(".json") and not suffix.startswith(".jsonl") else "line"
    return Source(label, stem, rows=files.READERS[suffix](TextFile(path, label, encoding)), unit=unit)


def _suffixes() -> str:
    plain = [name for name in files.SUFFIXES if name.count(".") == 1]
    packed = ", ".join(files.COMPRESSIONS)
    return f"{', '.join(plain)}; text files also with {packed}"


def _missing(path: Path | storage.RemotePath) -> MissingFileError:
    if not path.parent.is_dir():
        return MissingFileError(f"{path} does not exist, and neither does the folder {path.parent}.")
    names = [other.name for other in path.parent.iterdir()]
    similar = get_close_matches(path.name, names, n=1)
    hint = f"did you mean {path.parent / similar[0]}?" if similar else "check the path."
    return MissingFileError(f"{path} does not exist; {hint}")


def _frame_rows(frame: pd.DataFrame) -> Iterator[Row]:
    """Yield the rows of a DataFrame as Python objects, with its index if it has a name. Missing values become
    None."""
    frame = _with_named_index(frame)
    names = [str(name) for name in frame.columns]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"the DataFrame has two columns called {repeated[0]!r}; rename one.")
    cells = [_plain(frame.iloc[:, at]) for at in range(len(names))]
    for line, row in enumerate(zip(*cells, strict=True), start=1):
        yield Row(line, dict(zip(names, row, strict=True)))


def _with_named_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the DataFrame with its named index levels as columns, unless a column has that name."""
    names = [name for name in frame.index.names if name is not None and name not in frame.columns]
    return frame.reset_index(level=names) if names else frame


def _plain(series: pd.Series) -> list:
    objects = zip(series.astype(object), series.isna(), strict=True)
    return [
        None if missing else cell.tolist() if isinstance(cell, (np.ndarray, np.generic)) else cell
        for cell, missing in objects
    ]

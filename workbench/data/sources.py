"""Open anything that `load` accepts as a `Source`."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import count
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa

from ..core import tables
from ..core.errors import MissingFileError, UserError
from . import files, functions, hub
from .rows import Row, Source

_BATCH = 10_000  # rows of a table converted to Python objects at once
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def bundled_dir() -> Path:
    """Return the folder of the bundled data, in an installed wheel or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_bundled"
    # Checked first: beside an installed package, a folder called `data` belongs to something else.
    return installed if installed.is_dir() else package.parent / "data"


def open_source(source: object, split: str) -> Source:
    """Open anything that `load` accepts. Text files are read lazily.

    Raises MissingFileError for a path that does not exist, and UserError for an unsupported source.
    """
    if isinstance(source, pd.DataFrame):
        return Source("DataFrame", "dataframe", rows=_frame_rows(source))
    if hasattr(source, "to_arrow") and hasattr(source, "columns"):  # a polars DataFrame
        return Source("DataFrame", "dataframe", table=source.to_arrow())
    if isinstance(source, datasets.Dataset):
        return _from_dataset(source, "Dataset", "dataset")
    if isinstance(source, Path):
        return _from_file(source)
    if not isinstance(source, str):
        raise UserError(
            f"source is of type {type(source).__name__}; give a path, a hub id, 'package:NAME', 'bundled', "
            f"a pandas DataFrame or a datasets.Dataset (of a DatasetDict, one split)."
        )
    if source == "bundled":
        return _from_file(bundled_dir() / "instructions.jsonl")
    if source.startswith("package:"):
        name = source.removeprefix("package:")
        return Source(source, name, rows=functions.package_rows(name), unit="line")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source):
        raise UserError(f"source={source!r} is a URL; download the file and give its path.")
    if _is_hub_id(source):
        return _from_dataset(hub.dataset(source, split), source, source)
    return _from_file(Path(source))


def table_rows(table: pa.Table, names: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of `table` with only those cells whose column is among `names`."""
    selected = table.select([name for name in dict.fromkeys(names) if name in table.column_names])
    lines = count(1)
    for batch in selected.to_batches(max_chunksize=_BATCH):
        for cells in batch.to_pylist():
            yield Row(next(lines), cells)


def _is_hub_id(source: str) -> bool:
    if Path(source).expanduser().exists() or files.suffix(Path(source)) in files.SUFFIXES:
        return False
    return _HUB_ID.fullmatch(source) is not None


def _from_dataset(ds: datasets.Dataset, label: str, stem: str) -> Source:
    table = ds.with_format("arrow")[:]
    # The metadata holds feature types that Arrow does not have, e.g. class labels and images.
    table = table.replace_schema_metadata(ds.features.arrow_schema.metadata)
    return Source(label, stem, table=table, notes=ds.info.description)


def _from_file(path: Path) -> Source:
    label, path = str(path), path.expanduser()
    if not path.exists():
        raise _missing(path)
    suffix = files.suffix(path)
    if suffix not in files.SUFFIXES or not path.is_file():
        problem = "is a folder" if path.is_dir() else f"has the suffix {suffix!r}"
        raise UserError(
            f"{label} {problem}; give a {', '.join(sorted(files.SUFFIXES))} file"
            + (", or the dataset that datasets.load_from_disk returns." if path.is_dir() else ".")
        )
    files.check_content(path, label)
    stem = path.name[: -len(suffix)]
    if suffix == ".parquet":
        table = files.read_parquet(path)
        return Source(label, stem, table=table, notes=tables.description(table))
    unit = "row" if suffix in {".json", ".json.gz"} else "line"
    return Source(label, stem, rows=files.READERS[suffix](path, label), unit=unit)


def _missing(path: Path) -> MissingFileError:
    if any(character in str(path) for character in "*?["):
        return MissingFileError(f"{path} is a pattern, which is not read; give one file, or join the files.")
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

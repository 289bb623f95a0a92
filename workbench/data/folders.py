"""Read the files of a folder or of a pattern, e.g. the shards of one dataset, as one source."""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ..core.errors import UserError
from ..core.storage import RemotePath
from . import files, functions
from .rows import Rejection, Row, Source, first_line, table_rows

_PATTERN = re.compile(r"[*?[]")
# Names of splits in file names, e.g. "train-00000-of-00002.parquet" or "data/test.jsonl".
_SPLITS = {"train": "train", "test": "test", "validation": "validation", "valid": "validation"}
_SPLITS |= {"val": "validation", "dev": "validation"}
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(_SPLITS)})(?![a-z])")
_OTHER_FILES = {"dataset_info.json", "dataset_infos.json", "state.json"}  # of `datasets`, not rows


def is_pattern(path: Path | RemotePath) -> bool:
    """Return whether `path` has wildcards and is not itself a file."""
    return _PATTERN.search(str(path)) is not None and not path.exists()


def data_files(folder: Path | RemotePath, split: str) -> list[Path | RemotePath]:
    """Return the data files in a folder and its subfolders, in order of their names; [] if there is none.

    If the name of a file or subfolder has a split, e.g. "train", only the files of `split` are returned.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and _is_data(path, folder))
    splits = {path: _split_of(path.relative_to(folder)) for path in paths}
    if not any(splits.values()):
        return paths
    wanted = _SPLITS.get(split, split)
    own = [path for path in paths if splits[path] == wanted]
    if paths and not own:
        names = sorted({str(name) for name in splits.values() if name})
        raise UserError(f"{folder} has no file of split={split!r}; its files name {', '.join(names)}.")
    return own


def _is_data(path: Path | RemotePath, folder: Path | RemotePath) -> bool:
    hidden = any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    return not hidden and path.name not in _OTHER_FILES and files.suffix(path) in files.SUFFIXES


def _split_of(path: Path) -> str | None:
    """Return the split in the name of a file, or of its folder."""
    for name in (path.name, *reversed(path.parent.parts)):
        if match := _SPLIT.search(name.lower()):
            return _SPLITS[match.group()]
    return None


def python_rows(folder: Path | RemotePath) -> Iterator[Row | Rejection]:
    """Yield the documented functions of the Python files in a folder, as `functions.package_rows` does."""
    return functions.rows_of_files(
        {path.relative_to(folder).as_posix(): path for path in functions.python_files(folder)}
    )


def joined(sources: dict[str, Source], label: str, stem: str) -> Source:
    """Return one source with the rows of all `sources`, name -> source; rows carry the name of theirs.

    Tables stay tables if all sources are; columns that some lack are null there. Raises UserError if a column
    has types that cannot be joined.
    """
    tables = [source.table for source in sources.values()]
    if any(table is None for table in tables):
        return Source(label, stem, rows=_rows_of_all(sources), unit="line")
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise UserError(
            f"{label}: its tables do not have the same types ({first_line(error)}); load them one by one."
        ) from None
    notes = dict.fromkeys(source.notes for source in sources.values() if source.notes)
    return Source(label, stem, table=table, notes="\n\n".join(notes))


def _rows_of_all(sources: dict[str, Source]) -> Iterator[Row | Rejection]:
    for name, source in sources.items():
        rows = source.rows if source.table is None else table_rows(source.table, source.table.column_names)
        for row in rows:
            yield row._replace(source=name)

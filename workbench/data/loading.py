"""`load`: open a source, identify its columns, separate usable from rejected rows, build the table."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import datasets

from ..core import errors, tables
from ..core.storage import RemotePath
from . import columns, hub, rejections, text, turns, unused
from .building import IDS, UNUSED, UsableRows, build
from .columns import Columns
from .rows import Rejection, Row, Source, excerpt, printable, table_rows
from .sources import open_source

_HEAD = 1000  # rows whose keys determine the columns; if they do not suffice, all rows are read


def load(
    source,
    *,
    instruction: str | None = None,
    response: str | None = None,
    input: str | None = None,
    system: str | None = None,
    dialogue: str | None = None,
    split: str = "train",
    config: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
    encoding: str = "utf-8",
    limit: int | None = None,
    storage_options: dict | None = None,
) -> datasets.Dataset:
    """Load a dataset of instructions and responses from a file, a table, the hub or a package.

    Parameters
    ----------
    source : one of

        - a text file: .jsonl or .ndjson (objects on lines), .json (a list of objects, an object with one such
          list, an object of columns, several objects one after another, or JSON Lines), .csv, .tsv, each also
          with .gz, .bz2, .xz or .zst; or a table: .parquet, .arrow or .feather;
        - a folder of such files, with its subfolders, or a pattern, e.g. "data/*.jsonl". If names of files or
          subfolders hold a split, e.g. "train-00000.parquet", only those of `split` are read;
        - the URL of such a file, folder or pattern on any storage that fsspec reads, e.g. "s3://bucket/*.parquet"
          (with s3fs installed), "gs://", "hf://datasets/owner/name/file.jsonl" or "https://";
        - a folder that `save_to_disk` wrote, or a folder of Python files, which is read as a package is;
        - a pandas or polars DataFrame, a list of dicts, a dict of lists, or a `Dataset`, `DatasetDict` or
          `IterableDataset` of the datasets library;
        - a hub id "owner/name"; its cache is used if the hub cannot be reached;
        - "oss-instruct" (hub id ise-uiuc/Magicoder-OSS-Instruct-75K, columns problem and solution, about
          75,200 rows, 203 MB, MIT) or "evol-instruct" (nickrosh/Evol-Instruct-Code-80k-v1, instruction and
          output, about 78,300 rows, 121 MB, CC BY-NC-SA 4.0, leaks not removed): the datasets of arXiv
          2504.12687. Loading one prints its card;
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
    split : the split of a dataset from the hub, a folder or a DatasetDict; on the hub also a slice, e.g.
        "train[:10%]".
    config, revision, streaming : of a hub dataset: its configuration, its branch, tag or commit, and whether
        to read its rows one by one without storing them (use `limit`).
    encoding : of text files, e.g. "latin-1" or "utf-16". In UTF-8 files, a row with other bytes is rejected.
    limit : stop reading after this number of usable rows.
    storage_options : of a URL: arguments of its filesystem, e.g. `{"key": ..., "secret": ...}` for s3://.
        By default, credentials come from where the filesystem's library looks for them.

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
    place = hub.Place(split, config, revision, streaming)
    opened = open_source(source, place, text.check_encoding(encoding), storage_options)
    used, stream = _columns_and_rows(opened, named)
    rows = _separate(opened, used, stream, limit)
    if not rows.lines:
        raise rejections.nothing_left(opened, rows.rejections)
    ds, new_names = build(opened, used, rows)
    if rows.rejections:
        rejections.warn(opened, rows.n_read, rows.rejections)
    unused.warn(opened.label, used, named, new_names, rows.unused.values(), UNUSED)
    places = {"config": config, "revision": revision, "streaming": streaming or None}
    defaults = {"split": (split, "train"), "encoding": (encoding, "utf-8")}
    others = {name: value for name, (value, default) in defaults.items() if value != default}
    arguments = {**named._asdict(), "limit": limit, **places, **others}
    content = {"columns": ds.column_names, "ids": tables.ids_digest(ds)}
    return tables.note(ds, "load", _reproducible(source, arguments) | content)


def _reproducible(source, arguments: dict) -> dict:
    """Return the arguments of `load` that load the rows again; empty for a table in memory."""
    if not isinstance(source, (str, Path, RemotePath)):
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
        return used, table_rows(source.table, [*used.names, *IDS])
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
    names = dict.fromkeys(name for row in rows if isinstance(row, Row) for name in row.cells)
    return [name for name in names if _is_name(name)]


def _is_name(name: object) -> bool:
    """Return whether a key can be the name of a column in Arrow, where a name ends at a NUL."""
    return isinstance(name, str) and "\0" not in name and turns.is_encodable(name)


def _require_names(cells: dict, names: frozenset) -> frozenset:
    """Return `names`, which are known to be usable, with the keys of a row. Raises Unusable for a bad key."""
    new = cells.keys() - names
    for name in new:
        if not _is_name(name):
            raise turns.Unusable(f"the key {name!r} cannot be the name of a column")
    return names | new if new else names


def _separate(
    source: Source, used: Columns, stream: Iterator[Row | Rejection], limit: int | None
) -> UsableRows:
    """Separate usable from rejected rows, up to `limit` usable ones."""
    rows, names = UsableRows(), frozenset()
    left_out = {"id", *used.names}
    for row in stream:
        rows.n_read += 1
        if isinstance(row, Rejection):
            rows.rejections.append(row)
            continue
        try:
            names = _require_names(row.cells, names)
            texts = turns.texts_of(row.cells, used)
        except turns.Unusable as reason:
            label = row.source or source.label
            rows.rejections.append(Rejection(label, row.line, printable(str(reason)), excerpt(row.cells)))
            continue
        rows.keep(row, texts, left_out)
        if len(rows.lines) == limit:
            break
    return rows

"""Read JSON and JSON Lines files into rows, in the layouts that other tools write."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from ..core.errors import UserError
from . import columns
from .columns import Columns
from .rows import Rejection, Row, excerpt, first_line, kind
from .text import TextFile

_NOT_JSON = (ValueError, RecursionError)  # RecursionError: a thousand nested brackets
_SPACE = re.compile(r"\s*")
_MESSAGE = ({"role", "content"}, {"from", "value"})  # keys of a message of a dialogue


def jsonl_rows(file: TextFile) -> Iterator[Row | Rejection]:
    """Yield the objects of each line: one or several, or those of an array. Blank lines are skipped.

    A file whose first line opens an object or array that ends on a later line is read as JSON.
    """
    lines = file.lines()
    blank, first = _first_text(lines)
    if _is_opening(first):
        yield from _document_rows(first + "".join(lines), file)
        return
    for number, line in enumerate(chain([first], lines), start=blank + 1):
        yield from _line_rows(line, number, file)


def json_rows(file: TextFile) -> Iterator[Row | Rejection]:
    """Yield the rows of a JSON file.

    They are the objects of a list, of the only list in an object, or of several documents one after another,
    the rows of an object of columns, or the object itself. Also reads JSON Lines.
    """
    if _is_json_lines(file):
        yield from jsonl_rows(file)
    else:
        yield from _document_rows("".join(file.lines()), file)


def _first_text(lines: Iterator[str]) -> tuple[int, str]:
    """Return the number of blank lines at the start, and the first other line; "" if there is none."""
    blank = 0
    for line in lines:
        if not line.isspace():
            return blank, line
        blank += 1
    return blank, ""


def _is_opening(line: str) -> bool:
    """Return whether a line opens an object or array that ends on a later line."""
    line = line.strip()
    return line == "{" or (line.startswith("[") and not line.endswith("]"))


def _line_rows(line: str, number: int, file: TextFile) -> Iterator[Row | Rejection]:
    if not line or line.isspace():
        return
    if bad := file.bad_bytes(line, number):
        yield bad
        return
    try:
        values = _documents(line)
    except _NOT_JSON as error:
        yield Rejection(file.label, number, f"not valid JSON: {first_line(error)}", excerpt(line))
        return
    for value in values:
        items = value if _is_list_of_rows(value) else [value]
        yield from (_object_row(item, number, file.label) for item in items)


def _documents(text: str) -> list:
    """Return the JSON values in `text`, one after another. Raises as `json.loads` for any other text."""
    decoder, values, at = json.JSONDecoder(), [], _SPACE.match(text).end()
    while at < len(text) or not values:
        value, at = decoder.raw_decode(text, at)
        values.append(value)
        at = _SPACE.match(text, at).end()
        if at < len(text) and text[at] not in "{[":
            raise json.JSONDecodeError("Extra data", text, at)
    return values


def _is_json_lines(file: TextFile) -> bool:
    """Return whether the first two lines are objects, as `Dataset.to_json` writes them."""
    lines = (line for line in file.lines() if not line.isspace())
    first, second = [*islice(lines, 2), "", ""][:2]
    if not second.startswith("{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except _NOT_JSON:
        return False


def _document_rows(text: str, file: TextFile) -> Iterator[Row | Rejection]:
    try:
        documents = _documents(text)
    except _NOT_JSON as error:
        raise UserError(
            f"{file.label} is not valid JSON: {first_line(error)}; fix it or write it again."
        ) from None
    objects = documents if len(documents) > 1 else _objects(documents[0], file.label)
    for number, item in enumerate(objects, start=1):
        # A bad byte is a lone surrogate in the text, see `TextFile.lines`.
        bad = None if text.isascii() else file.bad_bytes(json.dumps(item, ensure_ascii=False), number)
        yield bad or _object_row(item, number, file.label)


def _objects(document: object, label: str) -> Iterable:
    """Return the rows of a document."""
    if isinstance(document, list):
        return [{"messages": document}] if _is_dialogue(document) else document
    if isinstance(document, dict):
        if (rows := rows_of_columns(document)) is not None:
            return rows
        if columns.find(document, Columns()):
            return [document]  # one row; a list in it, e.g. of messages, is no table
    values = document.values() if isinstance(document, dict) else ()
    lists = [value for value in values if _holds_objects(value)]
    if len(lists) == 1:
        return lists[0]
    if document and isinstance(document, dict) and not lists:
        return [document]
    content = f"an object with {len(lists)} lists of objects" if lists else kind(document)
    raise UserError(f"{label} holds {content}; give a list of objects, or an object with one such list.")


def rows_of_columns(document: dict) -> list[dict] | None:
    """Return the rows of an object of columns, name -> list of cells or row label -> cell; else None.

    `Dataset.to_dict` and `DataFrame.to_json` write such objects. All columns must have the same rows.
    """
    first = next(iter(document.values()), None)
    if isinstance(first, list):
        if not all(isinstance(column, list) and len(column) == len(first) for column in document.values()):
            return None
        if any(map(_is_dialogue, document.values())) or all(map(_holds_objects, document.values())):
            return None  # one row with a dialogue, or lists of rows
        labels = range(len(first))
    elif isinstance(first, dict):
        labels = first.keys()
        if not all(isinstance(column, dict) and column.keys() == labels for column in document.values()):
            return None
    else:
        return None
    return [{name: column[label] for name, column in document.items()} for label in labels]


def _holds_objects(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _is_list_of_rows(value: object) -> bool:
    if not isinstance(value, list) or _is_dialogue(value):
        return False
    return any(isinstance(item, dict) or _is_dialogue(item) for item in value)


def _is_dialogue(value: object) -> bool:
    """Return whether `value` is a list of messages."""
    return isinstance(value, list) and any(
        isinstance(item, dict) and any(keys <= item.keys() for keys in _MESSAGE) for item in value
    )


def _object_row(value: object, number: int, label: str) -> Row | Rejection:
    if isinstance(value, dict):
        return Row(number, value)
    if _is_dialogue(value):
        return Row(number, {"messages": value})
    return Rejection(label, number, f"the row is {kind(value)}, not an object", excerpt(value))

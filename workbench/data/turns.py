"""Extract the texts of a row: its instruction, its response, and the turns of a dialogue before it."""

import json
from typing import NamedTuple

from .columns import Columns
from .rows import is_missing, kind

_TURN_KEYS = (("role", "content"), ("from", "value"))
SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "system": "system"}  # role -> its name in ShareGPT
_ROLES = {
    **{name: role for role, alias in SHAREGPT_ROLES.items() for name in (role, alias)},
    **dict.fromkeys(("chatgpt", "model", "bot"), "assistant"),
    "developer": "system",
}


class Unusable(Exception):
    """Raised with the reason if a row has no usable pair of texts."""


class Turn(NamedTuple):
    """One turn of a dialogue."""

    role: str  # "user", "assistant" or "system"
    content: str


class Texts(NamedTuple):
    """The texts of a row. `dialogue` holds the turns before the response if there is more than one.

    `unused` describes the parts of messages that are no text of the sample, e.g. tool calls. Each has the
    keys `column` and `message` (its number, from 1), and the parts.
    """

    instruction: str
    response: str
    dialogue: list[dict] | None
    unused: list[dict]


def texts_of(cells: dict, columns: Columns) -> Texts:
    """Return the texts of a row. Raises `Unusable` with the reason if one is missing, empty or no text."""
    unused = []
    before, response = _before_and_response(cells, columns, unused)
    before = [*_system(cells, columns, before), *_history(cells, columns, unused), *before]
    before = _with_input(before, cells, columns)
    instruction = _render(before)
    if columns.dialogue and columns.instruction:
        instruction = _text(cells.get(columns.instruction), "instruction", columns.instruction)
    dialogue = [turn._asdict() for turn in before] if len(before) > 1 else None
    return Texts(instruction, response, dialogue, unused)


def _before_and_response(cells: dict, columns: Columns, unused: list[dict]) -> tuple[list[Turn], str]:
    """Return the turns before the response, and the response."""
    question, answer = cells.get(columns.instruction), cells.get(columns.response)
    if columns.dialogue and not (columns.instruction and is_missing(cells.get(columns.dialogue))):
        turns = _turns(cells.get(columns.dialogue), columns.dialogue, unused)
        if columns.response is None:
            return _split(turns, columns.dialogue, unused)
        _check_question(turns, columns.dialogue)
        return turns, _text(answer, "response", columns.response)
    if _is_dialogue(question) or _is_dialogue(answer):
        turns = _turns(question, columns.instruction, unused, "user")
        turns += _turns(answer, columns.response, unused, "assistant")
        return _split(turns, columns.instruction, unused)
    question = _text(question, "instruction", columns.instruction)
    return [Turn("user", question)], _text(answer, "response", columns.response)


def _split(turns: list[Turn], column: str, unused: list[dict]) -> tuple[list[Turn], str]:
    """Split a dialogue before the assistant's last turn, the response; later turns are unused."""
    answers = [n for n, turn in enumerate(turns) if turn.role == "assistant"]
    if not answers:
        raise Unusable(f"the dialogue in {column} has no assistant turn")
    before, answer, later = turns[: answers[-1]], turns[answers[-1]], turns[answers[-1] + 1 :]
    _check_question(before, column)
    for number, turn in enumerate(later, start=answers[-1] + 2):
        unused.append({"column": column, "message": number, **turn._asdict()})
    return before, _text(answer.content, "response", column)


def _check_question(before: list[Turn], column: str) -> None:
    questions = [turn.content for turn in before if turn.role == "user"]
    if not questions:
        raise Unusable(f"the dialogue in {column} has no user turn before the assistant's last")
    if not questions[-1].strip():
        raise Unusable(f"instruction is empty{_column('instruction', column)}")


def _system(cells: dict, columns: Columns, before: list[Turn]) -> list[Turn]:
    """Return the system turn from a column of its own, unless the dialogue opens with the same."""
    text = _optional_text(cells, "system", columns.system)
    return [] if not text or Turn("system", text) in before[:1] else [Turn("system", text)]


def _history(cells: dict, columns: Columns, unused: list[dict]) -> list[Turn]:
    """Return the earlier turns from a column of (question, answer) pairs or messages."""
    column = columns.history
    cell = _parsed(cells.get(column))
    if is_missing(cell) or cell in ("", []):
        return []
    if _is_dialogue(cell):
        return _turns(cell, column, unused)
    if not isinstance(cell, list) or not all(
        isinstance(two, (list, tuple)) and len(two) == 2 for two in cell
    ):
        raise Unusable(f"history is {kind(cell)}, not a list of (question, answer) pairs")
    for text in (text for two in cell for text in two):
        _require_text(text, "a turn of history", column)
    return [Turn(role, text) for two in cell for role, text in zip(("user", "assistant"), two, strict=True)]


def _with_input(before: list[Turn], cells: dict, columns: Columns) -> list[Turn]:
    """Append the input to the last question, on a new line."""
    text = _optional_text(cells, "input", columns.input)
    if not text:
        return before
    last = max(n for n, turn in enumerate(before) if turn.role == "user")
    question = Turn("user", f"{before[last].content}\n{text}")
    return [*before[:last], question, *before[last + 1 :]]


def _optional_text(cells: dict, role: str, column: str | None) -> str | None:
    """Return the text in a column that may be missing or blank; None then."""
    text = cells.get(column)
    if is_missing(text):
        return None
    _require_text(text, role, column)
    return text if text.strip() else None


def _text(value: object, role: str, column: str) -> str:
    """Return `value` if it is text that is not blank, else raise `Unusable`."""
    _require_text(value, role, column)
    if not value.strip():
        raise Unusable(f"{role} is empty{_column(role, column)}")
    return value


def _require_text(value: object, role: str, column: str) -> None:
    if is_missing(value):
        raise Unusable(f"{role} is missing{_column(role, column)}")
    if not isinstance(value, str):
        raise Unusable(f"{role} is {kind(value)}, not text{_column(role, column)}")
    if not is_encodable(value):
        raise Unusable(f"{role} holds a lone surrogate, which UTF-8 cannot write{_column(role, column)}")


def is_encodable(text: str) -> bool:
    """Return whether UTF-8, and so Arrow, can encode `text`; it cannot encode a lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _column(role: str, column: str) -> str:
    return "" if role == column else f" (column {column!r})"


def _is_dialogue(cell: object) -> bool:
    return isinstance(cell, list) and bool(cell) and isinstance(cell[0], dict)


def _parsed(cell: object) -> object:
    """Return the list in a cell of JSON text, e.g. of a CSV file; any other cell as it is."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _turns(cell: object, column: str, unused: list[dict], text_role: str | None = None) -> list[Turn]:
    """Return the turns in a cell; plain text is one turn of `text_role`, if that is given."""
    if is_missing(cell):
        raise Unusable(f"{column} is missing")
    if isinstance(cell, str) and text_role is not None:
        return [Turn(text_role, cell)]
    messages = _parsed(cell)
    if not isinstance(messages, list):
        raise Unusable(f"{column} is {kind(messages)}, not a list of messages")
    return [_turn(message, column, number, unused) for number, message in enumerate(messages, start=1)]


def _turn(message: object, column: str, number: int, unused: list[dict]) -> Turn:
    label = f"message {number} of {column}"
    if not isinstance(message, dict):
        raise Unusable(f"{label} is {kind(message)}, not an object")
    # Arrow gives all objects of a column the same keys, so a key may be present with a null.
    keys = next((keys for keys in _TURN_KEYS if message.get(keys[0]) is not None), None)
    if keys is None:
        raise Unusable(f"{label} has no role")
    name, content = (message.get(key) for key in keys)
    role = _ROLES.get(name.strip().casefold()) if isinstance(name, str) else None
    if role is None:
        raise Unusable(f"{label} has the role {name!r}, not one of {', '.join(_ROLES)}")
    # Values of another type than text may not compare, e.g. arrays.
    rest = {key: value for key, value in message.items() if key not in keys and not _is_empty(value)}
    text, others = _text_parts(content)
    if others:
        rest["content_parts"] = others
    if is_missing(text) and rest:
        raise Unusable(f"the content of {label} is missing (it has {', '.join(rest)})")
    _require_text(text, f"the content of {label}", f"the content of {label}")
    if rest:
        unused.append({"column": column, "message": number, **rest})
    return Turn(role, text)


def _is_empty(value: object) -> bool:
    return is_missing(value) or (isinstance(value, (str, list, dict)) and not value)


def _text_parts(content: object) -> tuple[object, list]:
    """Return the text of a content that is a list of parts, and its other parts, e.g. images."""
    if not isinstance(content, list):
        return content, []
    is_text = [isinstance(part, dict) and isinstance(part.get("text"), str) for part in content]
    texts = [part["text"] for part, text in zip(content, is_text, strict=True) if text]
    others = [part for part, text in zip(content, is_text, strict=True) if not text]
    return ("".join(texts) if texts else None), others


def _render(before: list[Turn]) -> str:
    """Join the turns: a single one as it is, several with their speakers, after opening system messages."""
    opening = 0
    while before[opening].role == "system":
        opening += 1
    system = [turn.content for turn in before[:opening] if turn.content.strip()]
    turns = before[opening:]
    texts = [turns[0].content]
    if len(turns) > 1:
        texts = [f"{turn.role.title()}: {turn.content}" for turn in turns]
    return "\n\n".join([*system, *texts])

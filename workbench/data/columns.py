"""Identify the columns with instruction and response, and extract the two texts from a row."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..core.errors import UserError
from .rows import is_missing, kind


class Columns(NamedTuple):
    """Column names of a source. If `response` is None, the column `instruction` holds whole dialogues."""

    instruction: str
    response: str | None
    input: str | None = None  # text that is appended to the instruction, if not empty

    @property
    def names(self) -> list[str]:
        """The columns that are used."""
        return [name for name in self if name is not None]


# Recognized names; the first entry whose columns all exist is used.
KNOWN = (
    Columns("instruction", "output", input="input"),  # Alpaca; `input` is optional
    Columns("instruction", "response"),
    Columns("problem", "solution"),
    Columns("prompt", "completion"),  # texts, or lists of messages in TRL's format
    Columns("prompt", "response"),
    Columns("question", "answer"),
    Columns("query", "response"),
    Columns("messages", None),
    Columns("conversations", None),
)
_TURN_KEYS = (("role", "content"), ("from", "value"))
SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "system": "system"}  # role -> its name in ShareGPT
_SPEAKERS = {name: role.capitalize() for role, alias in SHAREGPT_ROLES.items() for name in (role, alias)}


class Unusable(Exception):
    """Raised with the reason if a row has no usable pair of texts."""


class _Turn(NamedTuple):
    speaker: str  # a value of _SPEAKERS
    text: str


def find(names: Iterable[str], named: Columns | None) -> Columns | None:
    """Return the columns to use: those that the caller `named`, or else the first recognized ones."""
    names = set(names)
    if named is not None:
        return named if names.issuperset(named.names) else None
    for known in KNOWN:
        if names.issuperset({known.instruction, known.response} - {None}):
            return known if known.input in names else known._replace(input=None)
    return None


def not_found(label: str, names: Sequence[str], named: Columns | None) -> UserError:
    """Return the error to raise if `find` returns None."""
    available = ", ".join(names)
    if named is not None:
        parameter, name = next(item for item in named._asdict().items() if item[1] not in {None, *names})
        return UserError(f"{parameter}={name!r}: {label} has no such column; it has {available}.")
    return UserError(
        f"{label}: the columns with instruction and response are not recognized; it has {available}: "
        f"name two of them with instruction= and response=."
    )


class Pair(NamedTuple):
    """The texts of a row. `dialogue` holds the turns before the response if there is more than one."""

    instruction: str
    response: str
    dialogue: list[dict] | None = None


def pair(cells: dict, columns: Columns) -> Pair:
    """Return the texts of a row. Raises `Unusable` with the reason if one is missing, empty or no text."""
    dialogue = None
    instruction = cells.get(columns.instruction)
    response = cells.get(columns.response) if columns.response else None
    if columns.response is None or _is_dialogue(instruction) or _is_dialogue(response):
        turns = _turns(instruction, columns.instruction, "User")
        instruction, response, dialogue = _split(turns, response, columns)
    instruction = _text(instruction, "instruction", columns.instruction)
    response = _text(response, "response", columns.response or columns.instruction)
    context = cells.get(columns.input) if columns.input else None
    if not is_missing(context) and context != "":
        _require_text(context, "input", columns.input)
        if context.strip():
            instruction, dialogue = f"{instruction}\n{context}", None
    return Pair(instruction, response, dialogue)


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


def _turns(cell: object, column: str, speaker: str) -> list[_Turn]:
    """Return the turns in a cell; plain text is one turn of `speaker`."""
    if is_missing(cell):
        raise Unusable(f"{column} is missing")
    if isinstance(cell, str):
        return [_Turn(speaker, cell)]
    if not isinstance(cell, list):
        raise Unusable(f"{column} is {kind(cell)}, not a list of messages")
    return [_turn(message, f"message {n} of {column}") for n, message in enumerate(cell, start=1)]


def _turn(message: object, label: str) -> _Turn:
    if not isinstance(message, dict):
        raise Unusable(f"{label} is {kind(message)}, not an object")
    # Arrow gives all objects of a column the same keys, so a key may be present with a null.
    keys = next((keys for keys in _TURN_KEYS if message.get(keys[0]) is not None), None)
    if keys is None:
        raise Unusable(f"{label} has no role")
    role, text = (message.get(key) for key in keys)
    if not isinstance(role, str) or role not in _SPEAKERS:
        raise Unusable(f"{label} has the role {role!r}, not one of {', '.join(_SPEAKERS)}")
    _require_text(text, label, label)
    return _Turn(_SPEAKERS[role], text)


def _split(turns: list[_Turn], response: object, columns: Columns) -> Pair:
    """Split a dialogue before the assistant's last turn, the response; later turns are left out."""
    if columns.response is not None:
        turns = turns + _turns(response, columns.response, "Assistant")
    answers = [n for n, turn in enumerate(turns) if turn.speaker == "Assistant"]
    if not answers:
        raise Unusable(f"the dialogue in {columns.instruction} has no assistant turn")
    history = turns[: answers[-1]]
    questions = [turn.text for turn in history if turn.speaker == "User"]
    if not questions:
        raise Unusable(f"the dialogue in {columns.instruction} has no user turn before the assistant's last")
    if not questions[-1].strip():
        raise Unusable(f"instruction is empty{_column('instruction', columns.instruction)}")
    dialogue = [{"role": turn.speaker.lower(), "content": turn.text} for turn in history]
    return Pair(_render(history), turns[answers[-1]].text, dialogue if len(history) > 1 else None)


def _render(history: list[_Turn]) -> str:
    """Join the turns: a single one as it is, several with their speakers, after opening system messages."""
    opening = 0
    while history[opening].speaker == "System":
        opening += 1
    system = [turn.text for turn in history[:opening] if turn.text.strip()]
    turns = history[opening:]
    texts = [turns[0].text] if len(turns) == 1 else [f"{turn.speaker}: {turn.text}" for turn in turns]
    return "\n\n".join([*system, *texts])

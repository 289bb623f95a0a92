"""Which columns hold instruction and response, and how a row's cells become the two texts."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..core.errors import UserError
from .rows import is_missing, kind


class Columns(NamedTuple):
    """Names of the source's columns. Without `response`, `instruction` names a column of whole dialogues."""

    instruction: str
    response: str | None
    input: str | None = None  # its text, where there is any, follows the instruction's

    @property
    def names(self) -> list[str]:
        return [name for name in self if name is not None]


# The usual names; the first whose columns are all there wins.
KNOWN = (
    Columns("instruction", "output", input="input"),  # Alpaca; `input` may be absent
    Columns("instruction", "response"),
    Columns("problem", "solution"),
    Columns("prompt", "completion"),  # texts or, in TRL's format, lists of messages
    Columns("prompt", "response"),
    Columns("question", "answer"),
    Columns("query", "response"),
    Columns("messages", None),
    Columns("conversations", None),
)
_TURN_KEYS = (("role", "content"), ("from", "value"))
_SPEAKERS = {
    "user": "User",
    "human": "User",
    "assistant": "Assistant",
    "gpt": "Assistant",
    "system": "System",
}


class Unusable(Exception):
    """Why a row gives no pair of texts."""


class _Turn(NamedTuple):
    speaker: str  # a value of _SPEAKERS
    text: str


def find(names: Iterable[str], named: Columns | None) -> Columns | None:
    """The columns to use among `names`: those that the caller named, else the first known ones."""
    names = set(names)
    if named is not None:
        return named if names.issuperset(named.names) else None
    for known in KNOWN:
        if names.issuperset({known.instruction, known.response} - {None}):
            return known if known.input in names else known._replace(input=None)
    return None


def not_found(label: str, names: Sequence[str], named: Columns | None) -> UserError:
    """The error for when `find` found nothing."""
    there = ", ".join(names)
    if named is not None:
        parameter, name = next(item for item in named._asdict().items() if item[1] not in {None, *names})
        return UserError(f"{parameter}={name!r} is no column of {label}; it has {there}.")
    return UserError(
        f"{label} has no columns known to hold instruction and response; it has {there}: "
        f"name two of them with instruction= and response=."
    )


class Pair(NamedTuple):
    """What a row gives; `dialogue` is all turns before the response, where these are more than a question."""

    instruction: str
    response: str
    dialogue: list[dict] | None = None


def pair(cells: dict, columns: Columns) -> Pair:
    """Instruction and response of a row, or `Unusable`."""
    dialogue = None
    asked = cells.get(columns.instruction)
    answered = cells.get(columns.response) if columns.response else None
    if columns.response is None or _is_dialogue(asked) or _is_dialogue(answered):
        turns = _turns(asked, columns.instruction, "User")
        instruction, response, dialogue = _split(turns, answered, columns)
    else:
        instruction, response = asked, answered
    instruction = _text(instruction, "instruction", columns.instruction)
    response = _text(response, "response", columns.response or columns.instruction)
    added = cells.get(columns.input) if columns.input else None
    if not is_missing(added) and added != "":
        _require_text(added, "input", columns.input)
        if added.strip():
            instruction, dialogue = f"{instruction}\n{added}", None
    return Pair(instruction, response, dialogue)


def _text(value: object, role: str, column: str) -> str:
    """`value` if it is text that says something."""
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
    """Whether UTF-8, and so Arrow, can hold `text`: not so half of a surrogate pair."""
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
    """The turns in a cell; plain text is one turn by `speaker`."""
    if is_missing(cell):
        raise Unusable(f"{column} is missing")
    if isinstance(cell, str):
        return [_Turn(speaker, cell)]
    if not isinstance(cell, list):
        raise Unusable(f"{column} is {kind(cell)}, not a list of messages")
    return [_turn(message, f"message {n} of {column}") for n, message in enumerate(cell, start=1)]


def _turn(message: object, place: str) -> _Turn:
    if not isinstance(message, dict):
        raise Unusable(f"{place} is {kind(message)}, not an object")
    # Arrow fills up objects of different shape with nulls, so a key may be there and hold nothing.
    keys = next((keys for keys in _TURN_KEYS if message.get(keys[0]) is not None), None)
    if keys is None:
        raise Unusable(f"{place} names no role")
    role, text = (message.get(key) for key in keys)
    if not isinstance(role, str) or role not in _SPEAKERS:
        raise Unusable(f"{place} has the role {role!r}, not one of {', '.join(_SPEAKERS)}")
    _require_text(text, place, place)
    return _Turn(_SPEAKERS[role], text)


def _split(turns: list[_Turn], answered: object, columns: Columns) -> Pair:
    """What stands before the assistant's last turn, as one text, and that turn; what follows is left out."""
    if columns.response is not None:
        turns = turns + _turns(answered, columns.response, "Assistant")
    said = [n for n, turn in enumerate(turns) if turn.speaker == "Assistant"]
    if not said:
        raise Unusable(f"the dialogue in {columns.instruction} has no assistant turn")
    history = turns[: said[-1]]
    asked = [turn.text for turn in history if turn.speaker == "User"]
    if not asked:
        raise Unusable(f"the dialogue in {columns.instruction} has no user turn before the assistant's last")
    if not asked[-1].strip():
        raise Unusable(f"instruction is empty{_column('instruction', columns.instruction)}")
    dialogue = [{"role": turn.speaker.lower(), "content": turn.text} for turn in history]
    return Pair(_render(history), turns[said[-1]].text, dialogue if len(history) > 1 else None)


def _render(history: list[_Turn]) -> str:
    """A single question as it is; a longer history with its speakers. Opening system messages stand first."""
    opening = 0
    while history[opening].speaker == "System":
        opening += 1
    system = [turn.text for turn in history[:opening] if turn.text.strip()]
    turns = history[opening:]
    said = [turns[0].text] if len(turns) == 1 else [f"{turn.speaker}: {turn.text}" for turn in turns]
    return "\n\n".join([*system, *said])

"""Identify the columns of a source that make up a sample."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..core.errors import UserError


class Columns(NamedTuple):
    """Column names of a source, None for parts that it does not have.

    Without `instruction`, the column `dialogue` holds whole dialogues, or, beside a `response`, the turns
    before it.
    """

    instruction: str | None = None
    response: str | None = None
    input: str | None = None  # text that is appended to the instruction
    system: str | None = None  # text of a system turn that opens the dialogue
    history: str | None = None  # earlier (question, answer) pairs
    dialogue: str | None = None

    @property
    def names(self) -> list[str]:
        """The columns that are used."""
        return [name for name in self if name is not None]


# Recognized names; the first entry whose columns all exist is used.
KNOWN = (
    Columns("instruction", "response", dialogue="dialogue"),  # a table of `load`
    Columns("instruction", "output"),  # Alpaca
    Columns("instruction", "response"),
    Columns("problem", "solution"),
    Columns("prompt", "completion"),  # texts, or lists of messages in TRL's format
    Columns("prompt", "response"),
    Columns("question", "answer"),
    Columns("query", "response"),
    Columns("query", "answer"),  # CodeFeedback
    Columns("question", "response"),  # OpenOrca
    Columns("question", "solution"),  # KodCode
    Columns("input", "output"),  # OpenCodeInstruct, OpenCodeReasoning
    Columns("prompt", "canonical_solution"),  # HumanEval
    Columns("text", "code"),  # MBPP
    Columns("prompt", "code"),  # MBPP, sanitized
    *(
        Columns(dialogue=name)
        for name in ("messages", "conversations", "conversation", "dialogue", "dialog", "chat")
    ),
)
# Other parts of the prompt: part -> recognized names of its column.
_INPUTS = {"instruction": ("input", "context"), "question": ("context",)}  # by the name of the instruction
_SYSTEM = ("system", "system_prompt")
_HISTORY = ("history",)
# A table of `load` with another column of such a name would be read differently when it is loaded again.
RESERVED = {
    *("id", "instruction", "response", "dialogue", "output", "input", "context"),
    *(*_SYSTEM, *_HISTORY),
}


def normalized(name: str) -> str:
    """Return `name` as it is compared with recognized names: without outer blanks and case."""
    return name.strip().casefold()


def find(names: Iterable[str], named: Columns) -> Columns | None:
    """Return the columns to use: those that the caller `named`, completed by recognized ones.

    Names match without regard to case and outer blanks, unless another column matches exactly. Returns None
    if a named column does not exist, or if no instruction and response are recognized.
    """
    lookup = {normalized(name): name for name in reversed(list(names))} | {name: name for name in names}
    if any(lookup.get(name, lookup.get(normalized(name))) is None for name in named.names):
        return None
    named = Columns(*(name and lookup.get(name, lookup.get(normalized(name))) for name in named))
    if named.dialogue is not None or (named.instruction is not None and named.response is not None):
        return _as_dialogue(named)
    for known in KNOWN:
        chosen = _completed(known, named, lookup)
        if chosen is not None:
            return chosen
    return _as_dialogue(named._replace(response=named.instruction)) if named.instruction else None


def _as_dialogue(named: Columns) -> Columns:
    """Return `named`; a column that is both instruction and response holds whole dialogues."""
    if named.instruction is None or named.instruction != named.response:
        return named
    return named._replace(instruction=None, response=None, dialogue=named.instruction)


def _completed(known: Columns, named: Columns, lookup: dict[str, str]) -> Columns | None:
    """Return the columns `known`, with the `named` ones in their place, or None if one does not exist."""
    if known.dialogue and (named.instruction or named.response):
        return None
    texts = known._replace(**{part: None for part, name in named._asdict().items() if name})
    if any(name not in lookup for name in texts.names):
        return None
    chosen = {part: lookup[name] for part, name in texts._asdict().items() if name}
    chosen |= {part: name for part, name in named._asdict().items() if name}
    if len(set(chosen.values())) < len(chosen):
        return None
    # A table of `load` has all parts of the prompt in its texts, and so have columns that the caller names.
    if not ((known.dialogue and known.instruction) or named.instruction or named.response):
        for part, candidates in _optional(known).items():
            free = [lookup[name] for name in candidates if name in lookup]
            free = [name for name in free if name not in chosen.values()]
            if free and part not in chosen:
                chosen[part] = free[0]
    return Columns(**chosen)


def _optional(known: Columns) -> dict[str, Sequence[str]]:
    inputs = _INPUTS.get(known.instruction, ())
    return {"input": inputs, "system": _SYSTEM, "history": _HISTORY if known.instruction else ()}


def not_found(label: str, names: Sequence[str], named: Columns) -> UserError:
    """Return the error to raise if `find` returns None."""
    available = ", ".join(map(repr, names))
    existing = {normalized(name) for name in names}
    for parameter, name in named._asdict().items():
        if name is not None and normalized(name) not in existing:
            return UserError(f"{parameter}={name!r}: {label} has no such column; it has {available}.")
    return UserError(
        f"{label}: the columns with instruction and response are not recognized; it has {available}: "
        f"name two of them with instruction= and response=, or one that holds whole dialogues with dialogue= "
        f"(on the command line --instruction, --response and --dialogue)."
    )


def renamed(names: Iterable[str], generated: Iterable[str]) -> dict[str, str]:
    """Return a new name for those of the other columns `names` that are `RESERVED` or also `generated`."""
    names, taken = list(names), {*names, *generated}
    new = {}
    for name in names:
        if normalized(name) in RESERVED or name in generated:
            new[name] = f"source_{name.strip()}"
            while new[name] in taken:
                new[name] = f"source_{new[name]}"
            taken.add(new[name])
    return new

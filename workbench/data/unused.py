"""Report columns and parts of messages that a loaded table keeps, but outside of its texts."""

import warnings
from collections import Counter
from collections.abc import Iterable

from .columns import Columns, normalized


class UnusedPartsWarning(UserWarning):
    """`load` kept columns under another name, or parts of messages outside of the texts."""


def warn(
    label: str, used: Columns, named: Columns, new_names: dict[str, str], unused: Iterable, column: str
) -> None:
    """Warn the caller of `load` once, if there is anything to report.

    `new_names` maps renamed columns to their new names, `unused` holds the unused parts of each row that has
    any, and `column` is where they are kept.
    """
    sentences = [*_renamed(new_names), *_forgiven(used, named), *_parts(unused, column)]
    if sentences:
        warnings.warn(f"{label}: {'; '.join(sentences)}.", UnusedPartsWarning, stacklevel=3)


def _renamed(new_names: dict[str, str]) -> Iterable[str]:
    if new_names:
        listed = ", ".join(f"{name!r} as {new!r}" for name, new in new_names.items())
        yield (
            f"columns outside of the texts are kept under another name, {listed} (name the parts of the "
            f"prompt with instruction=, response=, input=, system= or dialogue=)"
        )


def _forgiven(used: Columns, named: Columns) -> Iterable[str]:
    for part, name in used._asdict().items():
        if name is None or name in named.names:
            continue
        if getattr(named, part) is not None or name != normalized(name):
            yield f"the column {name!r} is used as {normalized(name)!r}"


def _parts(unused: Iterable[list[dict]], column: str) -> Iterable[str]:
    counts = Counter()
    for parts in unused:
        counts.update({_name(key, part) for part in parts for key in part} - {None})
    if counts:
        listed = ", ".join(
            f"{name} ({n:,} {'row' if n == 1 else 'rows'})" for name, n in counts.most_common()
        )
        yield f"parts of messages are not used, and kept as JSON in the column {column!r}: {listed}"


def _name(key: str, part: dict) -> str | None:
    """Return the name of a part in the warning, None for the keys that locate it."""
    if key in ("column", "message"):
        return None
    return "turns after the response" if key in ("role", "content") else key

"""Errors the user can fix. The message names the parameter or file, the bad value and the fix."""

import math
from numbers import Integral, Real


class UserError(ValueError):
    """Invalid input. The command line prints the message without a traceback."""


class MissingFileError(UserError, FileNotFoundError):
    """A path that does not exist. Also a `FileNotFoundError`, so that callers can catch the built-in."""

    # OSError.__str__ builds its text from errno and strerror, which are not set here.
    __str__ = Exception.__str__


_SHOWN = 100  # characters of a value in a message


def shown(value: object) -> str:
    """Return the repr of `value` on one line, shortened if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def one_of(parameter: str, value: object, choices) -> None:
    """Raise UserError, with all `choices` in the message, unless `value` is one of them."""
    # Types first: `value` may have no hash, and an array compares cell by cell.
    if not any(isinstance(value, type(choice)) and value == choice for choice in choices):
        names = ", ".join(sorted(map(str, choices)))
        raise UserError(f"{parameter}={shown(value)} is not known; choose one of {names}.")


def text(parameter: str, value: object) -> None:
    """Raise UserError unless `value` is a string that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{parameter}={shown(value)} must be text.")


def yes_or_no(parameter: str, value: object) -> None:
    """Raise UserError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise UserError(f"{parameter}={shown(value)} must be True or False.")


def positive(parameter: str, value: object, *, most: int | None = None) -> None:
    """Raise UserError unless `value` is a whole number of at least 1; NumPy's integers are whole numbers."""
    whole_number(parameter, value, least=1, most=most)


def whole_number(parameter: str, value: object, *, least: int = 0, most: int | None = None) -> None:
    """Raise UserError unless `value` is an int, of Python or NumPy, from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UserError(f"{parameter}={shown(value)} must be a whole number of at least {least}.")
    if most is not None and value > most:
        raise UserError(f"{parameter}={shown(value)} must be a whole number of at most {most:,}.")


def number(
    parameter: str,
    value: object,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    otherwise: str = "",
) -> None:
    """Raise UserError unless `value` is a finite number within these limits; `otherwise` ends the message."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and value >= least and above < value < below:
        return
    limits = [f"of at least {least:g}"] if least > -math.inf else []
    limits += [f"above {above:g}"] if above > -math.inf else []
    limits += [f"below {below:g}"] if below < math.inf else []
    text = " and ".join(limits)
    raise UserError(f"{parameter}={shown(value)} must be a finite number {text}{otherwise}.")


_SEEDS = 2**32  # NumPy's legacy generators, and so scikit-learn, take 32 bits


def seed_of(value: object, parameter: str = "seed") -> int:
    """Return the seed `value`. Raises UserError unless it is a whole number from 0 to 2**32 - 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= value < _SEEDS:
        raise UserError(
            f"{parameter}={shown(value)} must be a whole number from 0 to {_SEEDS - 1:,}; for another draw, "
            "give another number."
        )
    return int(value)


def derived_seed(seed: int, number: int) -> int:
    """Return the seed of the `number`-th repetition of a computation that is seeded with `seed`."""
    return (seed + number) % _SEEDS

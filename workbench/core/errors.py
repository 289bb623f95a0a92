"""Errors that a person can mend. Their text names the parameter or place, the value found and the cure."""


class UserError(ValueError):
    """Input that cannot be used as it is; the command line prints its text without a traceback."""


class MissingFileError(UserError, FileNotFoundError):
    """A path that does not exist. Also a `FileNotFoundError`, for callers that expect the built-in."""

    # OSError would build the text from errno and strerror, which are not given here.
    __str__ = Exception.__str__


def one_of(parameter: str, value: object, choices) -> None:
    """Raise unless `value` is among `choices`, naming them all."""
    if value not in choices:
        raise UserError(f"{parameter}={value!r} is not known; choose one of {', '.join(sorted(choices))}.")


def positive(parameter: str, value: object) -> None:
    """Raise unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{parameter}={value!r} must be a whole number of at least 1.")

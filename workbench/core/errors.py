"""Errors the user can fix. The message names the parameter or file, the bad value and the fix."""


class UserError(ValueError):
    """Invalid input. The command line prints the message without a traceback."""


class MissingFileError(UserError, FileNotFoundError):
    """A path that does not exist. Also a `FileNotFoundError`, so that callers can catch the built-in."""

    # OSError.__str__ builds its text from errno and strerror, which are not set here.
    __str__ = Exception.__str__


def one_of(parameter: str, value: object, choices) -> None:
    """Raise UserError, with all `choices` in the message, unless `value` is one of them."""
    if value not in choices:
        raise UserError(f"{parameter}={value!r} is not known; choose one of {', '.join(sorted(choices))}.")


def positive(parameter: str, value: object) -> None:
    """Raise UserError unless `value` is an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{parameter}={value!r} must be a whole number of at least 1.")

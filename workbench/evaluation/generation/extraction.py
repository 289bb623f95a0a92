"""The code in what a model answers."""

import ast
import re
import warnings

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


def extract_code(completion: str) -> str:
    """The code of a completion: its first fenced block where it has one, and of that (else of all of it) the
    longest beginning, in whole lines, that is valid Python; all of it where nothing is.

    Models go on after their answer, with examples cut short or prose; what stands before is what was asked
    for.
    """
    fenced = _FENCE.search(completion)
    lines = (fenced.group(1) if fenced else completion).splitlines()
    for end in range(len(lines), 0, -1):
        if (code := "\n".join(lines[:end])).strip() and _is_python(code):
            return code
    return "\n".join(lines)


def _is_python(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in someone else's strings
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True

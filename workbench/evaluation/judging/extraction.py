"""Extract the code from a model's completion."""

import ast
import re
import warnings

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


def extract_code(completion: str) -> str:
    """The code of a completion: the longest run of lines from its start that is valid Python.

    If the completion has a fenced block, only the first one counts. If no beginning is valid Python, returns
    the whole text. Models often continue after the answer with prose or with examples that are cut off.
    """
    block = _FENCE.search(completion)
    lines = (block.group(1) if block else completion).splitlines()
    for end in range(len(lines), 0, -1):
        if (code := "\n".join(lines[:end])).strip() and is_python(code):
            return code
    return "\n".join(lines)


def is_python(code: str) -> bool:
    """Whether `code` is valid Python, judged without running it and without warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escape sequences in the code
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True

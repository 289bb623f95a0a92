"""Extract the code from a model's completion."""

import ast
import re
import textwrap
import warnings
from collections.abc import Sequence

_LINE_END = re.compile(r"\r\n|\r|\n")
_OPENING = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^`]*)$")  # of a fenced block: indentation, fence, info
_TAG = re.compile(r"[\w+-]*")
_PYTHON_TAGS = {"", "python", "python2", "python3", "py", "py3", "ipython", "ipython3"}
_CODE_START = re.compile(r"(async def|def|class|import|from \S+ import)\b|@")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_REASONING_END = "</think>"


def extract_code(completion: str) -> str:
    """The code of a completion, as a reader would copy it.

    If the completion has fenced blocks of Python, the code is the first one that defines a function or class,
    after blocks of imports or assignments before it; else the first one. Without a block, it is the longest
    run of lines that is valid Python, from the start or, after prose, from a line that begins code. Reasoning
    up to `</think>` is left out. If nothing is valid Python, returns the whole text. Models often continue
    after the answer with prose or with examples that are cut off.
    """
    text = completion.rpartition(_REASONING_END)[2]
    if is_python(text) and _statements(text):
        return "\n".join(_lines(text))
    if blocks := _python_blocks(_lines(text)):
        return "\n".join(_valid_start(block) or "\n".join(block) for block in _answer(blocks))
    # A tokenizer may have put a blank before the first line, or all lines are indented.
    starts = (text,) if text[:1] != " " else (text.lstrip(" "), textwrap.dedent(text))
    if code := max((_valid_start(_lines(start)) or "" for start in starts), key=len):
        return code
    lines = _lines(text)
    for first, line in enumerate(lines):
        if _CODE_START.match(line) and (code := _valid_start(lines[first:])):
            return code
    return "\n".join(lines)


def _lines(text: str) -> list[str]:
    return _LINE_END.split(text)


def _python_blocks(lines: Sequence[str]) -> list[list[str]]:
    """The lines of each fenced block whose tag is Python or missing; the last one may be unclosed."""
    blocks, block, opening = [], [], None
    for line in lines:
        if opening is None:
            if opening := _OPENING.match(line):
                block = []
                tag = _TAG.match(opening[3].lstrip("{.").lower())[0]
                if tag in _PYTHON_TAGS:
                    blocks.append(block)
        elif _closes(line, opening):
            opening = None
        else:
            width = len(opening[1])
            block.append(line[width:] if not line[:width].strip() else line)
    return [block for block in blocks if "".join(block).strip()]


def _closes(line: str, opening: re.Match) -> bool:
    """Whether `line` ends the block: a fence at least as long, and indented by at most 3 more blanks."""
    fence = line.strip()
    indentation = len(line) - len(line.lstrip())
    return (
        len(fence) >= len(opening[2]) and set(fence) == {opening[2][0]} and indentation <= len(opening[1]) + 3
    )


def _answer(blocks: list[list[str]]) -> list[list[str]]:
    """The blocks that make up the answer."""
    before = []
    for block in blocks:
        statements = _statements(_valid_start(block) or "")
        if any(isinstance(node, _DEFINITIONS) for node in statements):
            return [*before, block]
        if not all(isinstance(node, ast.Expr) for node in statements):
            before.append(block)
    return blocks[:1]


def _valid_start(lines: Sequence[str]) -> str | None:
    """The longest run of lines from the first that is valid Python and holds a statement; None if none is."""
    for end in range(len(lines), 0, -1):
        code = "\n".join(lines[:end])
        if code.strip() and is_python(code):
            return code if _statements(code) else None
    return None


def _statements(code: str) -> list[ast.stmt]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code).body


def is_python(code: str) -> bool:
    """Whether `code` is valid Python, judged without running it and without warnings."""
    try:
        _statements(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True

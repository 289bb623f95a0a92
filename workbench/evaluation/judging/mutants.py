"""Programs that differ from a given one by a single token and still parse."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from .extraction import is_python

# A replacement is as long as what it replaces where Python has one, so that length does not tell them apart.
_COMPARISONS = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "!=", "!=": "=="}
_ARITHMETIC = {"+": "-", "-": "+", "*": "+", "/": "*", "%": "//", "//": "%", "**": "*"}
_ARITHMETIC |= {f"{old}=": f"{new}=" for old, new in _ARITHMETIC.items()}
_BOOLEANS = {"and": "or", "or": "and"}
_NAMES = {"min": "max", "max": "min"}, {"any": "all", "all": "any"}
_TRUTHS = {"True": "False", "False": "True"}
_NUMBER = re.compile(r"[0-9][0-9_]*(\.[0-9]+)?")  # no hexadecimal and no exponent

KINDS = ("comparison", "arithmetic", "boolean", "number", "min/max", "any/all", "True/False")

Position = tuple[int, int]  # line from 1, character from 0


@dataclass(frozen=True)
class Mutant:
    """`code` with the token `old` at `line` (from 1) and `column` (from 0) replaced by `new`."""

    kind: str
    line: int
    column: int
    old: str
    new: str
    code: str


def mutants(code: str, first_line: int = 1) -> list[Mutant]:
    """All mutants of `code` that parse, spread over the kinds: the first of each kind, then the second, ...

    Within a kind they are ordered by position, so that every machine and Python version has the same list.
    Only tokens from `first_line` on are replaced. F-strings and texts stay as they are. Returns nothing if
    `code` is not valid Python.
    """
    if not is_python(code):
        return []
    by_kind = {kind: [] for kind in KINDS}
    lines = io.StringIO(code).readlines()
    for kind, (line, column), old, new in sorted(_replacements(code)):
        if line < first_line:
            continue
        text = lines[line - 1]
        changed = [*lines[: line - 1], text[:column] + new + text[column + len(old) :], *lines[line:]]
        if is_python(mutated := "".join(changed)):
            by_kind[kind].append(Mutant(kind, line, column, old, new, mutated))
    rounds = zip_longest(*by_kind.values())
    return [mutant for each in rounds for mutant in each if mutant is not None]


def _replacements(code: str) -> Iterator[tuple[str, Position, str, str]]:
    """(kind, position, old, new) of every token that can be replaced."""
    lines = io.StringIO(code).readlines()

    def position(line: int, byte: int) -> Position:
        """From the parser's byte offset to a character offset."""
        return line, len(lines[line - 1].encode()[:byte].decode())

    tokens = [
        (token.start, token.string)
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type in (tokenize.OP, tokenize.NAME, tokenize.NUMBER)
    ]
    at = dict(tokens)
    for node in _nodes(ast.parse(code)):
        for kind, table, left, right in _operators(node):
            start = position(left.end_lineno, left.end_col_offset)
            end = position(right.lineno, right.col_offset)
            for place, text in tokens:
                if start <= place < end and text in table:
                    yield kind, place, text, table[text]
                    break
        if isinstance(node, ast.Constant | ast.Name):
            place = position(node.lineno, node.col_offset)
            old = at.get(place, "")
            if replacement := _replaced_atom(node, old):
                yield replacement[0], place, old, replacement[1]


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree except those in f-strings, whose positions depend on the Python version."""
    if not isinstance(node, ast.JoinedStr):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from _nodes(child)


def _operators(node: ast.AST) -> Iterator[tuple[str, dict, ast.AST, ast.AST]]:
    """(kind, replacements, left and right operand) of each operator of `node`."""
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        yield from (("comparison", _COMPARISONS, *pair) for pair in pairwise(operands))
    elif isinstance(node, ast.BoolOp):
        yield from (("boolean", _BOOLEANS, *pair) for pair in pairwise(node.values))
    elif isinstance(node, ast.BinOp):
        yield "arithmetic", _ARITHMETIC, node.left, node.right
    elif isinstance(node, ast.AugAssign):
        yield "arithmetic", _ARITHMETIC, node.target, node.value


def _replaced_atom(node: ast.Constant | ast.Name, old: str) -> tuple[str, str] | None:
    """The kind and the replacement of a number, a truth value or a name."""
    if isinstance(node, ast.Name):
        for kind, table in zip(("min/max", "any/all"), _NAMES, strict=True):
            if old in table and isinstance(node.ctx, ast.Load):
                return kind, table[old]
    elif old in _TRUTHS:
        return "True/False", _TRUTHS[old]
    elif _NUMBER.fullmatch(old):
        return "number", old[:-1] + ("8" if old[-1] == "9" else str(int(old[-1]) + 1))
    return None

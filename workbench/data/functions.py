"""Extract rows from the documented functions of an installed package: docstring -> code.

Every machine has such pairs, without a download. The source is parsed, never imported. Not covered: functions
of compiled modules, and docstrings that are set at run time.
"""

import ast
import importlib.util
import io
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from ..core.errors import UserError
from .rows import Rejection, Row, excerpt

_MIN_DOCSTRING = 20  # characters
_NOT_LIBRARY = {"site-packages", "test", "tests", "idle_test"}  # folders inside the standard library's
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def package_rows(name: str) -> Iterator[Row | Rejection]:
    """Return the functions of package or module `name` that have a docstring of at least 20 characters.

    The name "stdlib" stands for the whole standard library. `instruction` is the docstring and the signature,
    `response` the function without its docstring, and `source` and `id` name file and line, e.g.
    "json/decoder.py:343". Files that do not parse and functions without a body are rejected. Raises UserError
    for a name that is not installed or has no Python source.
    """
    paths = _stdlib_files() if name == "stdlib" else _package_files(name)
    return rows_of_files(paths)


def rows_of_files(paths: dict[str, Path]) -> Iterator[Row | Rejection]:
    """Yield the documented functions of Python files, label -> path, in order of their labels."""
    for label, path in sorted(paths.items()):
        yield from _file_rows(path, label)


def _stdlib_files() -> dict[str, Path]:
    root = Path(sysconfig.get_path("stdlib"))
    tops = [path for path in root.iterdir() if path.stem in sys.stdlib_module_names]
    files = [file for top in tops for file in python_files(top)]
    labels = {file.relative_to(root): file for file in files}
    return {label.as_posix(): file for label, file in labels.items() if _NOT_LIBRARY.isdisjoint(label.parts)}


def _package_files(name: str) -> dict[str, Path]:
    """Map a label, the path relative to the folder that contains the package, to each file."""
    spec = _find(name)
    tops = [] if spec is None else spec.submodule_search_locations or [spec.origin]
    n_parents = name.count(".")  # parent packages in the name
    files = {}
    for top in (Path(top) for top in tops if top):
        for file in python_files(top):
            label = file.relative_to(top.parents[n_parents]).as_posix()
            files.setdefault(label, file)  # like import, prefer the first of several folders
    if not files:
        problem = "is not installed here" if spec is None else "has no Python source"
        raise UserError(f"source='package:{name}': {name!r} {problem}; give the name used to import it.")
    return files


def _find(name: str) -> ModuleSpec | None:
    """Return the spec of `name`. `importlib.util.find_spec` would import the parents of a dotted name."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    # Search the path first: for os and others the built-in finders answer "frozen" although there is a file.
    spec = PathFinder.find_spec(parts[0]) or _find_top(parts[0])
    for end in range(2, len(parts) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join(parts[:end]), spec.submodule_search_locations)
    return spec


def _find_top(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ValueError:  # a module without a spec, like __main__
        return None


def python_files(top: Path) -> list[Path]:
    """Return the Python files in a folder and its subfolders, or the file itself if it is one."""
    if top.is_dir():
        return list(top.rglob("*.py"))
    return [top] if top.suffix == ".py" and top.is_file() else []


def _file_rows(path: Path, label: str) -> Iterator[Row | Rejection]:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # e.g. about invalid escapes
            encoding, _ = tokenize.detect_encoding(file.readline)
            file.seek(0)
            text = io.TextIOWrapper(file, encoding).read()
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # includes bad encodings
        line, source = getattr(error, "lineno", None) or 1, getattr(error, "text", None) or ""
        reason = f"the file does not parse: {getattr(error, 'msg', error)}"
        yield Rejection(label, line, reason, excerpt(source))
        return
    lines = text.split("\n")  # splitlines would also split at form feeds
    nodes = [node for node in ast.walk(tree) if isinstance(node, _Function)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        docstring = ast.get_docstring(node) or ""
        if len(docstring) < _MIN_DOCSTRING:
            continue
        signature = _signature(lines, node)
        if len(node.body) == 1:
            yield Rejection(
                label, node.lineno, "the function has no body besides its docstring", excerpt(signature)
            )
            continue
        location = f"{label}:{node.lineno}"
        instruction, response = f"{docstring}\n\n{signature}", _code(lines, node)
        cells = {"id": location, "instruction": instruction, "response": response, "source": location}
        yield Row(node.lineno, cells, label)


def _signature(lines: list[str], node: _Function) -> str:
    """Return the source from `def` to the colon, without the indent of the function."""
    head = lines[node.lineno - 1 : node.body[0].lineno]
    depth = 0  # of brackets
    for token in tokenize.generate_tokens(iter([f"{line}\n" for line in head]).__next__):
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
        if token.string == ":" and depth == 0:
            row, column = token.end
            break
    kept = [*head[: row - 1], head[row - 1][:column]]
    indent = head[0][: node.col_offset]
    return "\n".join(line.removeprefix(indent) for line in kept)


def _code(lines: list[str], node: _Function) -> str:
    """Return the source of the function with its decorators, without its indent and its docstring."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    numbered = {number: lines[number - 1] for number in range(first, node.end_lineno + 1)}
    inside = _inside_strings(numbered, node)
    _cut(numbered, node.body[0])
    indent = lines[node.lineno - 1][: node.col_offset]
    return "\n".join(
        line if number in inside else line.removeprefix(indent) for number, line in numbered.items()
    )


def _cut(numbered: dict[int, str], docstring: ast.stmt) -> None:
    """Remove the docstring from the lines, but keep other code on its lines."""
    first, last = docstring.lineno, docstring.end_lineno
    # The parser counts columns in UTF-8 bytes.
    before = numbered[first].encode()[: docstring.col_offset].decode()
    after = numbered[last].encode()[docstring.end_col_offset :].decode().lstrip()
    after = after.removeprefix(";").lstrip()
    numbered[first] = before + after
    for number in range(first + 1, last + 1):
        del numbered[number]
    if not numbered[first].strip():
        del numbered[first]


def _inside_strings(numbered: dict[int, str], node: _Function) -> set[int]:
    """Return the numbers of the lines that start inside a string, where the indent is part of the text."""
    docstring = node.body[0].value
    texts = (n for n in ast.walk(node) if isinstance(n, (ast.Constant, ast.JoinedStr)) and n is not docstring)
    if not any(text.end_lineno > text.lineno for text in texts):
        return set()  # most functions; tokenizing is slow
    first = min(numbered)
    inside = set()
    for token in tokenize.generate_tokens(iter([f"{line}\n" for line in numbered.values()]).__next__):
        inside.update(range(first + token.start[0], first + token.end[0]))  # empty for a token on one line
    return inside

"""Measure the recall of planted leaks by kind, and list the matches among real rows.

    python tests/benchmarks/contamination.py FOLDER [ROWS]

FOLDER holds EvalPlus's files (HumanEvalPlus-*.jsonl.gz and MbppPlus-*.jsonl.gz). ROWS is any dataset that
`wb.load` takes (default: the bundled one). Every task is planted among its rows once per kind of leak.
"""

import ast
import gzip
import json
import sys
import time
from pathlib import Path

import datasets
import pandas as pd

import workbench as wb
from workbench.cleaning.contamination import BENCHMARKS, description

PROSE = "I am new to this and a bit lost. {} Please explain what you do, and keep it short!"
ANSWER = (
    "Sure, here is one way to do it:\n```python\nimport sys\n\n{}\n```\nCall it with your own data to try."
)


class Rename(ast.NodeTransformer):
    """Rename every function, argument and variable of a program."""

    def __init__(self, tree: ast.AST):
        bound = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        bound += [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]
        bound += [
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ]
        self.names = {name: f"item_{at}" for at, name in enumerate(dict.fromkeys(bound))}

    def visit_FunctionDef(self, node):
        node.name = self.names[node.name]
        return self.generic_visit(node)

    def visit_arg(self, node):
        node.arg = self.names[node.arg]
        return node

    def visit_Name(self, node):
        node.id = self.names.get(node.id, node.id)
        return node


def renamed(program: str) -> str:
    """Return `program` without docstrings and comments, with all its own names changed."""
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(Rename(tree).visit(tree))


def respaced(code: str) -> str:
    """Return `code` with wider indentation, empty lines, and operators without spaces."""
    return code.replace("    ", "\t\t").replace("\n", "\n\n").replace(" = ", "=").replace(", ", ",")


def leaks(prompt: str, solution: str) -> dict[str, tuple[str, str]]:
    """Return (instruction, response) by kind of leak."""
    sentence = " ".join(description(prompt).split()).rstrip(".")
    half = " ".join(sentence.split()[: -(-len(sentence.split()) // 2)])
    return {
        "prompt as instruction": (prompt, "pass"),
        "solution as response": ("Do it.", solution),
        "solution, other whitespace": ("Do it.", respaced(solution)),
        "program within an answer": ("Do it.", ANSWER.format(prompt + solution)),
        "bare solution within an answer": ("Do it.", ANSWER.format(solution)),
        "description within prose": (PROSE.format(sentence), "pass"),
        "description, half of it": (PROSE.format(half), "pass"),
        "solution, all names changed": ("Do it.", renamed(prompt + solution)),
    }


def recall(paths: dict[str, Path], real: datasets.Dataset) -> pd.DataFrame:
    """Return the share (0 to 1) of planted tasks marked with their own id, by kind (rows) and benchmark."""
    planted = []
    for name, path in paths.items():
        for task in map(json.loads, gzip.decompress(path.read_bytes()).splitlines()):
            for kind, (instruction, response) in leaks(task["prompt"], task["canonical_solution"]).items():
                source = {"benchmark": name, "task": task["task_id"], "kind": kind}
                planted.append(source | {"instruction": instruction, "response": response})
    mixed = datasets.concatenate_datasets([real, datasets.Dataset.from_list(planted)])
    marked = wb.mark_contaminated(mixed, paths=paths).to_pandas().iloc[len(real) :]
    marked["hit"] = marked["contaminated_by"] == marked["task"]
    return marked.pivot_table("hit", "kind", "benchmark", sort=False)


def main() -> None:
    folder = Path(sys.argv[1])
    paths = {name: next(folder.glob(f"{stem}-*.jsonl.gz")) for name, stem in BENCHMARKS.items()}
    real = wb.load(sys.argv[2] if len(sys.argv) > 2 else "bundled").select_columns(
        ["instruction", "response"]
    )
    start = time.perf_counter()
    marked = wb.mark_contaminated(real, paths=paths).filter(lambda row: row["contaminated_by"])
    print(f"{len(real):,} real rows in {time.perf_counter() - start:.1f} s, {len(marked)} marked:")
    for row in marked:
        print(f"  {row['contaminated_by']}, {row['contaminated_how']}: {row['contaminated_text'][:150]}")
    print(f"\nshare of planted leaks that is marked:\n{recall(paths, real).map('{:.1%}'.format)}")


if __name__ == "__main__":
    main()

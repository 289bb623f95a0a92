"""Recall of planted leaks by kind, and what is marked among real rows without any.

    python tests/benchmarks/contamination.py FOLDER [ROWS]

FOLDER holds EvalPlus's files (HumanEvalPlus-*.jsonl.gz and MbppPlus-*.jsonl.gz). Every task is leaked once in
each kind, among the rows of ROWS (default: the bundled dataset), any dataset that `wb.load` takes.
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
    """Gives every function, argument and variable of a program another name."""

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
    """`program` without docstrings and comments, each of its own names changed."""
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(Rename(tree).visit(tree))


def respaced(code: str) -> str:
    """Wider indentation, empty lines, and operators without spaces."""
    return code.replace("    ", "\t\t").replace("\n", "\n\n").replace(" = ", "=").replace(", ", ",")


def leaks(prompt: str, solution: str) -> dict[str, tuple[str, str]]:
    """Kind -> instruction and response."""
    told = " ".join(description(prompt).split()).rstrip(".")
    return {
        "prompt as instruction": (prompt, "pass"),
        "solution as response": ("Do it.", solution),
        "solution, other whitespace": ("Do it.", respaced(solution)),
        "program within an answer": ("Do it.", ANSWER.format(prompt + solution)),
        "bare solution within an answer": ("Do it.", ANSWER.format(solution)),
        "description within prose": (PROSE.format(told), "pass"),
        "description, half of it": (
            PROSE.format(" ".join(told.split()[: -(-len(told.split()) // 2)])),
            "pass",
        ),
        "solution, all names changed": ("Do it.", renamed(prompt + solution)),
    }


def recall(paths: dict[str, Path], real: datasets.Dataset) -> pd.DataFrame:
    """Share (0 to 1) of planted tasks that are marked with their own id: kinds down, benchmarks across."""
    planted = []
    for name, path in paths.items():
        for task in map(json.loads, gzip.decompress(path.read_bytes()).splitlines()):
            for kind, (instruction, response) in leaks(task["prompt"], task["canonical_solution"]).items():
                told = {"benchmark": name, "task": task["task_id"], "kind": kind}
                planted.append(told | {"instruction": instruction, "response": response})
    mixed = datasets.concatenate_datasets([real, datasets.Dataset.from_list(planted)])
    found = wb.mark_contaminated(mixed, paths=paths).to_pandas().iloc[len(real) :]
    found["hit"] = found["contaminated_by"] == found["task"]
    return found.pivot_table("hit", "kind", "benchmark", sort=False)


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
    print(f"\nplanted among them, share found:\n{recall(paths, real).map('{:.1%}'.format)}")


if __name__ == "__main__":
    main()

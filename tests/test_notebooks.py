"""Notebooks teach by calling: no definitions in them, small files, and they run from top to bottom."""

import ast
import json
import re

import nbformat
import pytest
from execution import NOTEBOOKS, WIDGET, execute

ONE_MB = 1_000_000
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook) -> list:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def assert_fit_to_keep(notebook) -> None:
    """Of a size that people can fetch and GitHub shows, without errors or state of widgets."""
    assert len(nbformat.writes(notebook)) < ONE_MB
    assert "widgets" not in notebook.metadata
    assert not [output for output in outputs_of(notebook) if output.output_type == "error"]


def test_there_are_notebooks():
    assert "00_quickstart" in [path.stem for path in NOTEBOOKS]


@each_notebook
def test_cells_define_nothing(path):
    for cell in code_cells(nbformat.read(path, as_version=4)):
        plain = re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.MULTILINE)  # IPython's commands
        kinds = {type(node) for node in ast.walk(ast.parse(plain))}
        assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef}, cell.source


@each_notebook
def test_committed_notebook_can_be_read_without_running_it(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert_fit_to_keep(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))  # executed once, top to bottom
    outputs = outputs_of(notebook)
    assert not [o for o in outputs if o.get("name") == "stderr"]
    assert not [o for o in outputs if WIDGET in o.get("data", {})]  # shows as an error where no kernel runs
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 1


@each_notebook
def test_committed_outputs_tell_nothing_about_a_machine(path):
    texts = json.dumps(outputs_of(nbformat.read(path, as_version=4)))
    # Not inside pictures, whose letters are random.
    texts = re.sub(r'"image/png": "[^"]*"', "", texts)
    assert not re.findall(r"/(?:tmp|root|home|Users|work|content)/[^\s\"\\]*|[A-Z]:\\\\", texts)


@pytest.mark.model
@each_notebook
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    notebook = execute(path, tmp_path)
    assert_fit_to_keep(notebook)
    last_tables = [o.data["text/html"] for o in outputs_of(notebook) if "text/html" in o.get("data", {})]
    assert "<table" in last_tables[-1]
    if path.stem == "00_quickstart":
        comparison = last_tables[-2]
        assert "held-out loss" in comparison
        assert all(f"<th>{name}</th>" in comparison for name in ("before", "after"))

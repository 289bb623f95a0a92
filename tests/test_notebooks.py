"""Notebooks teach by calling: no definitions in them, small files, and they run from top to bottom.

`test_notebooks_browser.py` runs them in a real browser; where there is none, they run here.
"""

import ast
import json
import re

import nbformat
import pytest
from browsing import CHROMIUM
from execution import FOLDER, NOTEBOOKS, WIDGET, dashboards, execute

ONE_MB = 1_000_000
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/codetune-workbench/workbench/blob/v0.1.0/notebooks/{}.ipynb)"
)
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem != "00_quickstart"], ids=lambda path: path.stem
)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook) -> list:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def texts_of(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def assert_fit_to_keep(notebook) -> None:
    """Of a size that people can fetch and GitHub shows, without errors or state of widgets."""
    assert len(nbformat.writes(notebook)) < ONE_MB
    assert "widgets" not in notebook.metadata
    assert not [output for output in outputs_of(notebook) if output.output_type == "error"]


def test_readme_lists_each_notebook():
    table = (FOLDER.parent / "README.md").read_text("utf-8")
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert f"| [{path.stem}](notebooks/{path.name}) | " in table
        assert table.count(BADGE.format(path.stem)) == 1


@each_notebook
def test_cells_define_nothing(path):
    for cell in code_cells(nbformat.read(path, as_version=4)):
        plain = re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.MULTILINE)  # IPython's commands
        kinds = {type(node) for node in ast.walk(ast.parse(plain))}
        assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef}, cell.source


@each_notebook
def test_notebook_begins_and_ends_as_all_do(path):
    """A title and its badge, the same cell for Colab, and the reader's own data last, which Run All skips."""
    notebook = nbformat.read(path, as_version=4)
    title, *texts = texts_of(notebook)
    assert title.startswith("# ")
    assert BADGE.format(path.stem) in title
    quickstart = nbformat.read(FOLDER / "00_quickstart.ipynb", as_version=4)
    assert code_cells(notebook)[0].source == code_cells(quickstart)[0].source
    sections = re.findall(r"^## (.*)$", "\n".join(texts), flags=re.MULTILINE)
    assert sections[0] == "Set up"
    assert sections[-1] == "Your own data"
    assert notebook.cells[-1].source.startswith("own = None\nif own is not None:\n")


@each_lesson
def test_lesson_has_exercises_with_folded_answers(path):
    notebook = nbformat.read(path, as_version=4)
    at = next(i for i, cell in enumerate(notebook.cells) if cell.source.startswith("## Exercises"))
    texts = "\n".join(cell.source for cell in notebook.cells[at:] if cell.cell_type == "markdown")
    numbers = re.findall(r"^\*\*(\d)\.\*\*", texts, flags=re.MULTILINE)
    assert numbers == [str(i + 1) for i in range(len(numbers))]
    assert len(numbers) >= 2
    answers = re.findall(r"^<details>\n<summary>Answer</summary>\n\n.+?\n\n</details>$", texts, re.M | re.S)
    assert len(answers) == len(numbers)
    to_change = [cell for cell in notebook.cells[at:] if cell.cell_type == "code"]
    assert len(to_change) == len(numbers) + 1  # and the reader's own data


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
    drawn = [o for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert all("image/png" in o.data for o in drawn)  # GitHub shows no other figures
    assert all("image/png" in cell.outputs[-1].data for cell in dashboards(notebook))
    assert [o for o in outputs if "image/png" in o.get("data", {})]


@each_notebook
def test_committed_outputs_tell_nothing_about_a_machine(path):
    texts = json.dumps(outputs_of(nbformat.read(path, as_version=4)))
    # Not inside pictures, whose letters are random.
    texts = re.sub(r'"image/png": "[^"]*"', "", texts)
    assert not re.findall(r"/(?:tmp|root|home|Users|work|content)/[^\s\"\\]*|[A-Z]:\\\\", texts)


@pytest.mark.model
@pytest.mark.skipif(CHROMIUM is not None, reason="test_notebooks_browser.py runs it in a browser")
@each_notebook
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    assert_fit_to_keep(execute(path, tmp_path))

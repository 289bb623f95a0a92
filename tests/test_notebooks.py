"""Notebooks only call the package: they hold no definitions, stay small and run from top to bottom.

`test_notebooks_browser.py` runs them in a real browser. Without a browser, they run here.
"""

import ast
import importlib.util
import json
import re
import sys
from types import SimpleNamespace

import nbformat
import pytest
from addresses import FILES, patterns, rewritten
from browsing import CHROMIUM
from execution import FOLDER, NOTEBOOKS, WIDGET, dashboards, execute

ONE_MB = 1_000_000
# `addresses.rewritten` fills in owner, name and tag.
BADGE = rewritten(
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/OWNER/NAME/blob/TAG/notebooks/{}.ipynb)"
)
INSTALL = rewritten('%pip install -q "codetune-workbench @ git+https://HOST@TAG"')
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize(
    "path", [path for path in NOTEBOOKS if path.stem != "00_quickstart"], ids=lambda path: path.stem
)


def python_of(cell) -> str:
    """Source of the code cell `cell`, with IPython's commands replaced by `pass`."""
    return re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.MULTILINE)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook) -> list:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def texts_of(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def assert_fit_to_keep(notebook) -> None:
    """GitHub renders the notebook: it is small and has neither errors nor widget state."""
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
        kinds = {type(node) for node in ast.walk(ast.parse(python_of(cell)))}
        assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef}, cell.source


@each_notebook
def test_notebooks_share_their_beginning_and_end(path):
    """First a title with a badge and the install cell, last a cell for your own data that Run All skips."""
    notebook = nbformat.read(path, as_version=4)
    title, *texts = texts_of(notebook)
    assert title.startswith("# ")
    assert BADGE.format(path.stem) in title
    quickstart = nbformat.read(FOLDER / "00_quickstart.ipynb", as_version=4)
    assert code_cells(notebook)[0].source == code_cells(quickstart)[0].source
    assert INSTALL in code_cells(notebook)[0].source
    sections = re.findall(r"^## (.*)$", "\n".join(texts), flags=re.MULTILINE)
    assert sections[0] == "Set up"
    assert sections[-1] == "Your own data"
    assert notebook.cells[-1].source.startswith("own = None\nif own is not None:\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_addresses_are_those_of_pyproject(path):
    text = path.read_text("utf-8")
    assert rewritten(text) == text, "run `python tests/addresses.py`"


def test_addresses_follow_the_repository_and_the_version():
    text = (FOLDER / "00_quickstart.ipynb").read_text("utf-8")
    addresses = patterns("https://github.com/someone/else", "2.0.1")
    for pattern, address in addresses.items():
        text = re.sub(pattern, address, text)
    assert text.count("/github/someone/else/blob/v2.0.1/notebooks/00_quickstart.ipynb") == 1
    assert text.count("git+https://github.com/someone/else@v2.0.1") == 1
    assert "codetune-workbench/workbench" not in text


def test_the_install_cell_explains_what_to_do_where_the_repository_cannot_be_reached(monkeypatch):
    cell = code_cells(nbformat.read(FOLDER / "00_quickstart.ipynb", as_version=4))[0]
    colab = SimpleNamespace(output=SimpleNamespace(enable_custom_widget_manager=lambda: None))
    monkeypatch.setitem(sys.modules, "google", SimpleNamespace(colab=colab))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    exec(python_of(cell), {})  # the workbench is installed: nothing happens
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"`%pip install PATH`, where PATH is its wheel or a clone of"):
        exec(python_of(cell), {})


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
    assert len(to_change) == len(numbers) + 1  # one for each exercise, one for your own data


@each_notebook
def test_committed_notebook_can_be_read_without_running_it(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert_fit_to_keep(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))  # each cell ran once, from top to bottom
    outputs = outputs_of(notebook)
    assert not [o for o in outputs if o.get("name") == "stderr"]
    assert not [o for o in outputs if WIDGET in o.get("data", {})]  # renders as an error without a kernel
    drawn = [o for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert all("image/png" in o.data for o in drawn)  # GitHub renders no Plotly figures
    assert all("image/png" in cell.outputs[-1].data for cell in dashboards(notebook))
    assert [o for o in outputs if "image/png" in o.get("data", {})]


@each_notebook
def test_committed_outputs_hold_no_paths_of_a_machine(path):
    texts = json.dumps(outputs_of(nbformat.read(path, as_version=4)))
    # Pictures are left out: their base64 text can look like a path.
    texts = re.sub(r'"image/png": "[^"]*"', "", texts)
    assert not re.findall(r"/(?:tmp|root|home|Users|work|content)/[^\s\"\\]*|[A-Z]:\\\\", texts)


@pytest.mark.model
@pytest.mark.xdist_group("model")
@pytest.mark.skipif(CHROMIUM is not None, reason="test_notebooks_browser.py runs it in a browser")
@each_notebook
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    assert_fit_to_keep(execute(path, tmp_path))

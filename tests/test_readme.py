"""The README's Python blocks run with the real model, and its picture of the house is that of the package."""

import re
from pathlib import Path

import pandas as pd
import pytest
from test_architecture import FLOORS

import workbench as wb

README = Path(__file__).resolve().parents[1] / "README.md"


def python_blocks() -> list[tuple[int, str]]:
    """Returns (line number, code) of each fenced Python block."""
    text = README.read_text("utf-8")
    return [
        (text.count("\n", 0, block.start(1)) + 1, block.group(1))
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def test_the_house_has_the_floors_of_the_package():
    house = re.search(r"<!-- house -->\n\n((?: {4}.*\n)+)", README.read_text("utf-8")).group(1)
    rooms = [re.split(r" {3,}", line.strip())[0].split() for line in house.splitlines()]
    assert rooms[::-1] == FLOORS[:-1]


def test_the_files_that_the_readme_names_exist():
    paths = re.findall(r"[`(]((?:workbench|tests|data|notebooks)/[\w/.]*\w)", README.read_text("utf-8"))
    assert len(paths) > 10
    assert [path for path in paths if not (README.parent / path).exists()] == []


@pytest.mark.model
@pytest.mark.xdist_group("model")
@pytest.mark.timeout(1800)  # on a slow machine
@pytest.mark.filterwarnings("ignore::workbench.data.RejectedRowsWarning")
def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks()
    assert blocks, "the README has no Python block"
    names = {"__name__": "readme"}
    for line, code in blocks:
        # Leading blank lines make a traceback show the line number in the README.
        exec(compile("\n" * (line - 1) + code, str(README), "exec"), names)


@pytest.mark.model
@pytest.mark.xdist_group("model")
@pytest.mark.filterwarnings("ignore::workbench.data.RejectedRowsWarning")
def test_the_real_model_serves_the_calls_beyond_the_readme(tmp_path, monkeypatch):
    """Scores, variants, figures and panels of a table whose columns have unusual names."""
    monkeypatch.chdir(tmp_path)
    rows = {
        "task": ["Add two numbers.", "Greet by name.", "Square a number.", ""],
        "code": [
            "def add(a, b):\n    return a + b",
            "def hi(n):\n    return f'Hi {n}'",
            "sq = lambda x: x * x",
            "pass",
        ],
    }
    ds = wb.load(pd.DataFrame(rows), instruction="task", response="code")
    assert len(wb.rejected(ds)) == 1
    ds = wb.score(ds, model="smollm2-135m")
    assert set(ds["score_status"]) == {"ok"}
    assert len(wb.derive(ds, "loss-ratio", min_tokens=5, shrinkage=10)) == 3
    print(wb.compare_scorers(ds, "smollm2-135m", "smollm2-135m", cheap_options={"dtype": "bfloat16"}))
    report = wb.evaluate("smollm2-135m", benchmark="bundled", limit=1, max_new_tokens=16)
    wb.widgets.EvaluationPanel(report)
    wb.figures.evaluation({"mine": report})

    first_look = wb.first_look()
    selection = wb.select(first_look, ratio=0.4, strategy="ifd-cluster")
    assert selection.dropped
    plans = [
        wb.pack(selection.dataset, 1024, name) for name in ("pad", "dynamic", "balanced", "flat", "exact")
    ]
    wb.figures.packing_preview(plans)
    compared = wb.compare(first_look, ["ifd-cluster", "ifd-top", "k-center"], ratio=0.4)
    assert len(compared.only("ifd-cluster")) > 0
    wb.export(selection, "rows", format="messages", recipe="paper-deepseek-oss")

"""The evaluation panel in JupyterLab: keys move through the tasks, and texts are escaped."""

import pytest
from browsing import RUN_ALL, jupyter, keep, no_error_in, until

pytestmark = pytest.mark.browser

ATTACK = "<img src=x onerror='window.attacked = true'>"
CODE = f"""
import pandas as pd
import workbench as wb
from workbench.evaluation import EvalReport

verdicts = ["pass", "fail", "timeout", "error"]
tasks = pd.DataFrame({{
    "task_id": [f"T/{{i}}" for i in range(4)],
    "base": verdicts,
    "plus": verdicts[::-1],
    "prompt": [f"task {{i}} {ATTACK}" for i in range(4)],
    "solution": [f"program {{i}} {ATTACK}" for i in range(4)],
}})
reports = [EvalReport(f"{{name}} {ATTACK}", "HumanEval", tasks) for name in ("a", "b")]
wb.widgets.EvaluationPanel(*reports)
"""
SHOWN = """() => ({
    text: document.querySelector(".workbench-evaluation").innerText,
    tasks: [...document.querySelectorAll(".workbench-tasks option")].map((option) => option.innerText),
    errors: document.querySelector(".workbench-errors").innerText.trim(),
    attacked: Boolean(window.attacked),
    image: document.querySelector(".workbench-evaluation img") !== null,
})"""


@pytest.fixture
def page(tmp_path):
    with jupyter(tmp_path, []) as lab:
        lab.write("panel", CODE)
        with lab.opened("panel") as page:
            yield page


def test_keys_and_filters_open_tasks_and_texts_are_escaped(page):
    page.evaluate(RUN_ALL)
    tasks = page.locator(".workbench-tasks select")
    until(lambda: no_error_in(page) and tasks.count())
    until(lambda: "program 0" in page.evaluate(SHOWN)["text"])
    page.locator(".workbench-evaluation input[type=number]").focus()
    page.keyboard.press("ArrowUp")
    until(lambda: "program 1" in page.evaluate(SHOWN)["text"])
    page.locator(".workbench-evaluation .widget-dropdown select").nth(1).select_option("error (1)")
    until(lambda: "program 3" in page.evaluate(SHOWN)["text"])
    shown = page.evaluate(SHOWN)
    assert [line.split()[0] for line in shown["tasks"]] == ["T/3"]
    assert ATTACK in shown["text"]
    assert [shown[name] for name in ("attacked", "image", "errors")] == [False, False, ""]
    keep(page, "evaluation")
    assert page.complaints == []

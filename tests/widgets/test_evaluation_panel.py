"""The evaluation panel without a browser: what it lists, shows and escapes."""

import pandas as pd
import pytest

import workbench as wb
from workbench.core.errors import UserError
from workbench.evaluation import EvalReport

ATTACK = "<img src=x onerror=alert(1)>"


def report(model="first", benchmark="HumanEval", **verdicts: str) -> EvalReport:
    """A report with a task per keyword, e.g. `a="pf"`: task a passes base and fails plus."""
    words = {name[0]: name for name in wb.figures.VERDICTS}
    rows = [
        {
            "task_id": name,
            "sample": 0,
            "base": words[base],
            "plus": words[plus],
            "base_detail": None if base == "p" else f"base of {name} {ATTACK}",
            "plus_detail": None if plus == "p" else f"plus of {name}",
            "base_input": None,
            "plus_input": None if plus == "p" else f"[1, '{ATTACK}']",
            "prompt": f"def {name}(): {ATTACK}",
            "solution": f"# {model} writes {ATTACK}",
        }
        for name, (base, plus) in verdicts.items()
    ]
    return EvalReport(model, benchmark, pd.DataFrame(rows), versions={"benchmark": f"v1 {ATTACK}"})


FIRST = report(a="pp", b="pf", c="fe", d="tt")
SECOND = report("second", a="pf", b="ff", c="pp", e="pp")


def listed(panel) -> list[str]:
    return [line.replace("\u00a0", " ").split()[0] for line, _ in panel.tasks.options]


def texts_of(panel) -> str:
    return panel.summary.value + panel.detail.value


@pytest.fixture
def panel():
    panel = wb.widgets.EvaluationPanel(FIRST)
    yield panel
    assert panel.errors.last is None


@pytest.fixture
def pair():
    panel = wb.widgets.EvaluationPanel(FIRST, SECOND)
    yield panel
    assert panel.errors.last is None


def test_lists_every_task_and_shows_the_first(panel):
    assert listed(panel) == ["a", "b", "c", "d"]
    assert panel.tasks.options[2][0].replace("\u00a0", " ").split() == ["c", "\u2717", "fail", "!", "error"]
    assert "first writes" in panel.detail.value
    assert "def a()" in panel.detail.value
    assert "base <b>50.0%</b> (15.0% to 85.0%, 4 tasks)" in panel.summary.value
    assert repr(panel) == "<EvaluationPanel of <EvalReport first on HumanEval: pass@1 2/4>>"


def test_a_chosen_task_is_shown_with_its_failing_input(panel):
    panel.tasks.value = 2
    for text in ("<h4", ">c</h4>", "base of c", "plus of c", "fails on input", "base: <b>\u2717 fail</b>"):
        assert text in panel.detail.value
    panel.tasks.value = 0
    assert "fails on input" not in panel.detail.value


@pytest.mark.parametrize(
    ("suite", "verdict", "tasks"),
    [
        ("base", "pass", ["a", "b"]),
        ("plus", "pass", ["a"]),
        ("plus", "fail", ["b"]),
        ("base", "timeout", ["d"]),
        ("plus", "error", ["c"]),
    ],
)
def test_filter_by_verdict(panel, suite, verdict, tasks):
    panel.suite.value = suite
    panel.verdict.value = verdict
    assert listed(panel) == tasks
    assert f">{tasks[0]}</h4>" in panel.detail.value


def test_the_filter_counts_verdicts_of_the_chosen_suite(panel):
    assert [label for label, _ in panel.verdict.options] == ["all (4)", "pass (2)", "fail (1)", "timeout (1)"]
    panel.verdict.value = "fail"
    panel.suite.value = "plus"
    assert panel.verdict.value == "fail"
    assert listed(panel) == ["b"]
    panel.verdict.value = "error"
    panel.suite.value = "base"  # which has none
    assert panel.verdict.value == "all"


def test_tasks_are_searched_by_name(panel):
    panel.search.value = " B "
    assert listed(panel) == ["b"]
    panel.search.value = "nowhere"
    assert listed(panel) == []
    assert "No task matches the filter" in panel.detail.value
    panel.search.value = ""
    assert listed(panel) == ["a", "b", "c", "d"]
    assert ">a</h4>" in panel.detail.value


def test_the_chosen_task_stays_chosen_while_it_is_listed(panel):
    panel.tasks.value = 1
    panel.verdict.value = "pass"
    assert ">b</h4>" in panel.detail.value
    panel.suite.value = "plus"
    assert ">a</h4>" in panel.detail.value


def test_the_number_field_moves_through_the_list(panel):
    panel.number.value = 3
    assert ">c</h4>" in panel.detail.value
    panel.number.value += 1
    assert panel.tasks.value == 3
    panel.tasks.value = 1
    assert (panel.number.value, panel.of.value) == (2, "of 4")
    panel.suite.value, panel.verdict.value = "plus", "error"
    assert (panel.number.value, panel.number.max, panel.of.value) == (1, 1, "of 1")
    panel.search.value = "nowhere"
    assert panel.of.value == "of 0"
    panel.search.value, panel.verdict.value = "", "all"
    panel.number.value = 4
    assert ">d</h4>" in panel.detail.value


def test_two_reports_side_by_side(pair):
    assert pair.tasks.options[1][0].replace("\u00a0", " ").split("|")[1].split() == [
        *("\u2717", "fail"),
        *("\u2717", "fail"),
    ]
    assert (
        "Of the 3 tasks in both reports (base), the first alone passes 1, the second alone 1"
        in pair.summary.value
    )
    pair.verdict.value = "flipped"
    assert listed(pair) == ["b", "c"]
    for text in ("first: first", "second: second", "first writes", "second writes"):
        assert text in pair.detail.value
    pair.suite.value = "plus"
    assert pair.verdict.value == "flipped"
    assert listed(pair) == ["a", "c"]


def test_a_task_missing_in_the_second_report(pair):
    pair.tasks.value = 3
    assert "no sample of this task" in pair.detail.value


def test_texts_of_models_are_escaped(pair):
    for at in range(4):
        pair.tasks.value = at
        assert "<img" not in texts_of(pair)
        assert "&lt;img src=x" in pair.detail.value
    assert "&lt;img" in pair.summary.value


def test_a_very_long_program_is_cut():
    long_report = report(a="pp")
    long_report.tasks.loc[0, "solution"] = "x" * 10**6
    panel = wb.widgets.EvaluationPanel(long_report)
    assert len(panel.detail.value) < 30_000
    assert "980,000 more characters" in panel.detail.value


def test_prompts_can_be_passed():
    bare = report(a="pp", benchmark="own tasks")
    bare = EvalReport("m", "own tasks", bare.tasks.drop(columns=["prompt", "base_detail", "plus_detail"]))
    assert "pass prompts=" in wb.widgets.EvaluationPanel(bare).detail.value
    assert "what to do" in wb.widgets.EvaluationPanel(bare, prompts={"a": "what to do"}).detail.value


def test_prompts_of_the_bundled_tasks_are_shown():
    row = wb.load("bundled")[0]
    tasks = pd.DataFrame({"task_id": [row["id"]], "base": ["fail"], "plus": None})
    tasks = tasks.assign(detail="AssertionError: 1 != 2", completion="pass")
    panel = wb.widgets.EvaluationPanel(EvalReport("m", "bundled", tasks))
    assert row["instruction"].split()[0] in panel.detail.value
    assert "AssertionError: 1 != 2" in panel.detail.value
    assert list(panel.suite.options) == ["base"]


def test_several_samples_per_task():
    twice = pd.concat([report(a="pp").tasks, report(a="pf").tasks.assign(sample=1)], ignore_index=True)
    sampled_twice = EvalReport("m", "HumanEval", twice)
    panel = wb.widgets.EvaluationPanel(sampled_twice)
    assert [line.split("\u00a0")[:2] for line, _ in panel.tasks.options] == [["a", ""], ["a", "#1"]]
    panel.tasks.value = 1
    assert "plus of a" in panel.detail.value
    with pytest.raises(UserError, match="several samples per task"):
        wb.widgets.EvaluationPanel(sampled_twice, SECOND)


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        (("rep.json",), "report='rep.json' is not a report"),
        ((FIRST, 1), "against=1 is not a report"),
        ((FIRST, report(a="pp", benchmark="MBPP")), "compare reports on the same tasks"),
        ((EvalReport("m", "x", FIRST.tasks[:0]),), "the report has no tasks"),
    ],
)
def test_unusable_reports_raise(reports, message):
    with pytest.raises(UserError, match=message):
        wb.widgets.EvaluationPanel(*reports)


def test_a_page_without_a_kernel_shows_the_last_state(panel):
    bundle = panel._repr_mimebundle_()
    assert "first writes" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_an_exception_is_shown(monkeypatch):
    panel = wb.widgets.EvaluationPanel(FIRST)
    monkeypatch.setattr("workbench.widgets.verdicts.detail", lambda *_: 1 / 0)
    panel.tasks.value = 1
    assert isinstance(panel.errors.last, ZeroDivisionError)
    assert "division by zero" in panel.errors.value

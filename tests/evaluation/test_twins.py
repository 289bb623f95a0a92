"""Broken twins: one token differs, the program parses, and its tests fail."""

import ast
import gzip
import io
import json
import tokenize
from itertools import zip_longest
from pathlib import Path

import datasets
import pandas as pd
import pytest

import workbench as wb
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.evaluation import SandboxError, broken_twins, level
from workbench.evaluation.judging.assertions import run_with_tests
from workbench.evaluation.judging.mutants import KINDS, mutants

try:
    level()
except SandboxError as refused:
    pytest.skip(str(refused), allow_module_level=True)

SAMPLE = Path(__file__).parent / "evalplus_sample"
MEAN = "def mean(values):\n    return sum(values) / len(values) if values != [] else 0.0"


def tokens(code: str) -> list[str]:
    return [token.string for token in tokenize.generate_tokens(io.StringIO(code).readline)]


def changes(code: str) -> set[tuple[str, str]]:
    return {(mutant.old, mutant.new) for mutant in mutants(code)}


def table(*rows: tuple[str, str], **more) -> datasets.Dataset:
    """Tasks of (response, check)."""
    return datasets.Dataset.from_dict(
        {
            "id": [f"row-{i}" for i in range(len(rows))],
            "instruction": ["Write it."] * len(rows),
            "response": [response for response, _ in rows],
            "check": [check for _, check in rows],
            **more,
        }
    )


class TestMutants:
    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("a < b <= c", {("<", ">"), ("<=", ">=")}),
            ("a == b != c", {("==", "!="), ("!=", "==")}),
            ("a and b or not c", {("and", "or"), ("or", "and")}),
            ("a += b * c", {("+=", "-="), ("*", "+")}),
            ("a // b % c ** d / e", {("//", "%"), ("%", "//"), ("**", "*"), ("/", "*")}),
            ("x = 9, 10, 0.5", {("9", "8"), ("10", "11"), ("0.5", "0.6")}),
            ("min(a, max(b))", {("min", "max"), ("max", "min")}),
            ("any(a) is all(b)", {("any", "all"), ("all", "any")}),
            ("x = True, False, None", {("True", "False"), ("False", "True")}),
            ("(a # + \n) + (\n-b)", {("+", "-")}),
            ("é = 'é+1' + é", {("+", "-")}),
        ],
    )
    def test_each_kind_of_token(self, code, expected):
        assert changes(code) == expected

    @pytest.mark.parametrize(
        "code",
        [
            "f(*a, **b)",
            "x: 'a < b'",
            "f'{a + 1 < b}'",
            "'+ 1'  # 1 + 1",
            "min = 3.0e5",
            "0x1F",
            "not a",
            "a +",
        ],
    )
    def test_what_is_left_alone(self, code):
        assert mutants(code) == []

    def test_mutants_of_all_kinds_come_first(self):
        code = "x = 1 + 2 + 3 < 4 and True\ny = 5 < max(6, 7) or any(z)"
        first = mutants(code)[: len(KINDS)]
        assert [mutant.kind for mutant in first] == list(KINDS)
        assert (first[0].line, first[0].column) == (1, 14)

    def test_only_lines_from_the_first_one_on_are_changed(self):
        assert [mutant.line for mutant in mutants("a = 1\nb = 1\nc = 1", first_line=3)] == [3]

    def test_every_bundled_mutant_differs_by_one_token_and_parses(self):
        count = 0
        for code in wb.load("bundled")["response"][:80]:
            original = tokens(code)
            for mutant in mutants(code):
                ast.parse(mutant.code)
                pairs = zip_longest(original, tokens(mutant.code))
                assert [pair for pair in pairs if pair[0] != pair[1]] == [(mutant.old, mutant.new)]
                count += 1
        assert count > 300


class TestTwins:
    def test_they_fail_what_the_reference_passes(self):
        tasks = wb.load("bundled").select(range(12))
        twins = wb.twins(tasks).to_pandas().merge(tasks.to_pandas()[["id", "check"]], on="id")
        assert len(twins) > 20
        assert twins["verified"].all()
        assert set(run_verdicts(twins["twin"], twins["check"])) <= {"fail", "error"}
        assert set(run_verdicts(twins["response"], twins["check"])) == {"pass"}
        assert twins.groupby("id").size().max() <= broken_twins.PER_TASK

    def test_what_has_none_is_named_with_the_reason(self):
        checks = "assert mean([]) == 0", "assert mean([1]) == 2"
        twins = wb.twins(table(*((MEAN, check) for check in checks), ("x = y", ""), ("x = 1", "x")))
        assert set(twins["id"][:]) == {"row-0"}
        assert twins["change"][:] == ["!= to ==", "0.0 to 0.1"]
        assert tables.noted(twins, "twins")["without"] == {
            "row-1": "the reference does not pass its tests (fail)",
            "row-2": "no token of the reference can be replaced",
            "row-3": "no replaced token makes the tests fail",
        }

    def test_rows_without_tests_have_unverified_twins(self, capsys, monkeypatch):
        monkeypatch.delenv("WORKBENCH_QUIET", raising=False)
        rows = table((MEAN, ""), (MEAN, "assert mean([2, 4]) == 3"))
        twins = wb.twins(rows).to_pandas()
        assert twins.groupby("id")["verified"].all().to_dict() == {"row-0": False, "row-1": True}
        assert twins[~twins["verified"]]["verdict"].isna().all()
        assert tables.noted(wb.twins(rows.remove_columns("check")), "twins")["unverified"] == 2

    def test_text_around_the_code_stays(self):
        response = f"Here it is:\n\n```python\n{MEAN}\n```\nDivide by 1.\n"
        (twin, *_) = wb.twins(table((response, "assert mean([2, 4]) == 3")))["twin"]
        assert twin == response.replace("!=", "==")

    def test_a_second_call_runs_nothing(self, monkeypatch):
        tasks = table((MEAN, "assert mean([2, 4]) == 3"), ("x = 1", "x"))
        first = wb.twins(tasks)
        monkeypatch.setattr(broken_twins, "run_with_tests", None)
        again = wb.twins(tasks)
        assert (again.to_dict(), again.info.description) == (first.to_dict(), first.info.description)

    def test_an_endless_loop_is_no_twin(self):
        code = "def f(n):\n    while n < 5:\n        n += 1\n    return n"
        twins = wb.twins(table((code, "assert f(0) == 5")), per_task=9)
        assert twins["change"][:] == ["< to >", "5 to 6", "1 to 2"]  # not "+= to -=", which never ends

    def test_bad_input(self):
        with pytest.raises(UserError, match="per_task=0"):
            wb.twins(per_task=0)
        with pytest.raises(UserError, match="limit=-1"):
            wb.twins(limit=-1)
        with pytest.raises(UserError, match="benchmark='bundle'"):
            wb.twins("bundle")
        with pytest.raises(UserError, match="response"):
            wb.twins(table((MEAN, "")).remove_columns("response"))


@pytest.mark.slow
@pytest.mark.usefixtures("evalplus")
@pytest.mark.parametrize("name", ["humaneval+", "mbpp+"])
def test_twins_of_evalplus_tasks_fail_its_suites(name, monkeypatch):
    path = SAMPLE / f"{name.removesuffix('+')}-tasks.jsonl.gz"
    monkeypatch.setenv(f"{name.removesuffix('+').upper()}_OVERRIDE_PATH", str(path))
    twins = wb.twins(name, limit=6, per_task=3).to_pandas()
    assert len(twins) > 6
    assert twins["verified"].all()
    lines = gzip.decompress(path.read_bytes()).splitlines()
    tasks = {task["task_id"]: task for task in map(json.loads, lines)}
    for twin in twins.itertuples():
        assert twin.response == tasks[twin.id]["canonical_solution"]
        original, changed = (tokens(tasks[twin.id]["prompt"] + code) for code in (twin.response, twin.twin))
        assert sum(a != b for a, b in zip_longest(original, changed)) == 1


def run_verdicts(codes: pd.Series, checks: pd.Series) -> list[str]:
    return [outcome.verdict for outcome in run_with_tests(list(codes), list(checks))]

"""Verdicts on programs, code extraction, greedy generation, held-out loss, and `evaluate`."""

import time

import datasets
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from workbench.core.errors import UserError
from workbench.evaluation import (
    EvalReport,
    SandboxError,
    evaluate,
    extract_code,
    generate,
    heldout_loss,
    judge,
    level,
    run_program,
)
from workbench.lm import models, prompts
from workbench.training import Run, finetune

try:
    level()
except SandboxError as refused:
    pytest.skip(str(refused), allow_module_level=True)

INSTRUCTIONS = [
    "Add two numbers.",
    "Reverse.",
    "Write a function that returns the reverse of a string.",
    "Hi",
]
RESPONSES = [
    "def add(a, b):\n    return a + b",
    "text[::-1]",
    "def reverse(text):\n    return text[::-1]",
    "1",
]


@pytest.fixture(scope="module")
def toy(toy_model_dir):
    return models.load_model(toy_model_dir("llama"), "float32", "cpu")


def tasks(**columns) -> datasets.Dataset:
    table = {"id": ["a", "b", "c", "d"], "instruction": INSTRUCTIONS, "response": RESPONSES}
    return datasets.Dataset.from_dict(table | {"check": ["assert True"] * 4} | columns)


class TestSandbox:
    @pytest.mark.parametrize(
        ("program", "verdict", "detail"),
        [
            ("assert 1 + 1 == 2", "pass", ""),
            ("", "pass", ""),
            ("print('no line end', end='')", "pass", ""),
            ("print('é漢')", "pass", ""),
            ("import io, sys\nsys.stdout = io.StringIO()", "pass", ""),
            ("assert 1 + 1 == 3", "fail", "AssertionError"),
            ("assert False, 'got\\nmore lines'", "fail", "more lines"),
            ("assert False, 'x' * 5000", "fail", "xxx"),
            ("print('x' * 100)\nraise AssertionError('late')", "fail", "AssertionError: late"),
            ("1 / 0", "error", "ZeroDivisionError"),
            ("def f(:", "error", "SyntaxError"),
            ("null = '\0'", "error", "SyntaxError"),
            ("input()", "error", "EOFError"),
            ("import os\nos._exit(0)", "error", "ended itself"),
            ("import os\nos._exit(3)", "error", "exit code 3"),
            ("import sys\nsys.exit(0)", "error", "SystemExit: 0"),
            ("def f():\n    return f()\nf()", "error", "RecursionError"),
            ("bytearray(4 * 2**30)", "error", "MemoryError"),
            ("print('x' * 10**7)", "pass", ""),
            ("open('big', 'wb').write(bytes(2**22))", "blocked", "for writing"),
            ("import tempfile\nfile = tempfile.TemporaryFile('w+')\nfile.write('é')", "pass", ""),
            ("text = '\ud800'", "error", "surrogates not allowed"),
        ],
    )
    def test_verdict(self, program, verdict, detail):
        outcome = run_program(program)
        assert outcome.verdict == verdict, outcome
        assert detail in outcome.detail
        assert len(outcome.detail) <= 2000

    @pytest.mark.parametrize("program", ["while True: pass", "import time\ntime.sleep(60)"])
    def test_a_program_that_does_not_end_is_stopped(self, program):
        started = time.monotonic()
        assert run_program(program, seconds=0.2).verdict == "timeout"
        assert time.monotonic() - started < 4

    def test_dataclasses_and_pickle_can_look_up_the_program(self):
        program = (
            "from __future__ import annotations\nimport pickle\nfrom dataclasses import dataclass\n"
            "@dataclass\nclass Point:\n    x: int\n"
            "assert pickle.loads(pickle.dumps(Point(1))) == Point(1)"
        )
        assert run_program(program).verdict == "pass"

    def test_the_environment_is_empty(self, monkeypatch):
        monkeypatch.setenv("WORKBENCH_TEST_SECRET", "secret")
        program = "import os\nassert not os.environ, dict(os.environ)"
        outcome = run_program(program)
        assert outcome.verdict == "pass", outcome

    def test_installed_packages_cannot_be_imported(self):
        assert "ModuleNotFoundError" in run_program("import numpy").detail


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("x = 1\ny = 2", "x = 1\ny = 2"),
        ("```python\nx = 1\n```\nThat was it.", "x = 1"),
        ("Here:\n```py\nx = 1\n```\n```python\ny = 2\n```", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("```python\nx = 1\ny = (2,", "x = 1"),
        ("x = 1\n\nThis sets x to one.", "x = 1\n"),
        ("def f():\n    return 1\n\ndef g():\n    retu rn", "def f():\n    return 1\n"),
        ("def f():\n    return 1\nprint(f(", "def f():\n    return 1"),
        ("Sorry, I cannot.", "Sorry, I cannot."),
        ("", ""),
        ("\n\n", "\n\n"),
        ("text = '\\d'", "text = '\\d'"),
        ("x = '\0'", "x = '\0'"),
    ],
    ids=[
        "no fence",
        "fence",
        "first of two",
        "fence without a language",
        "fence cut short",
        "prose behind",
        "tail is no code",
        "tail cut short",
        "nothing valid",
        "nothing",
        "blank",
        "doubtful escape",
        "null character",
    ],
)
def test_extract_code_takes_the_longest_valid_beginning(completion, code):
    assert extract_code(completion) == code


ADD = "def add(a, b):\n    return a + b"
DOCSTRING = "def add(a, b):\n    '''Adds.\n\n    ```\n    add(1, 2)\n    ```\n    '''\n    return a + b"


@pytest.mark.parametrize(
    "completion",
    [
        *(f"Sure:\n```{tag}\n{ADD}\n```\nDone." for tag in ("python3", "Python", "PY", "py", "ipython", "")),
        *(f"```{tag}\n{ADD}\n```" for tag in ('python title="a.py"', "{python}", "{.python .numberLines}")),
        f"~~~python\n{ADD}\n~~~",
        f"````python\n{ADD}\n````",
        f"```python\n{ADD}\n",
        f"```python\n{ADD}\n```".replace("\n", "\r\n"),
        f"Install:\n```bash\npip install x\n```\nThen:\n```python\n{ADD}\n```",
        f"It prints\n```text\n3\n```\nCode:\n```python\n{ADD}\n```",
        f"For example\n```python\nadd(1, 2)\n```\nanswer:\n```python\n{ADD}\n```",
        f"```python\n{ADD}\n```\nor\n```python\ndef add(a, b):\n    return None\n```",
        f"<think>\nI could write ```python\nadd = None\n``` first\n</think>\n```python\n{ADD}\n```",
        "1. Do this:\n   ```python\n   def add(a, b):\n       return a + b\n   ```",
        f"Here is the function:\n\n{ADD}",
        f" {ADD}",
        f"### Instruction:\nAdd.\n### Response:\n{ADD}",
    ],
)
def test_code_is_extracted_as_a_reader_would_copy_it(completion):
    assert extract_code(completion).rstrip("\n") == ADD


def test_fences_in_code_do_not_end_it_and_imports_before_it_belong_to_it():
    assert extract_code(f"```python\n{DOCSTRING}\n```") == DOCSTRING
    assert extract_code(DOCSTRING) == DOCSTRING
    parts = f"```python\nimport math\n```\nand\n```python\n{ADD}\n```"
    assert extract_code(parts) == f"import math\n{ADD}"
    assert extract_code("x = 'a\u2028b'") == "x = 'a\u2028b'"


def test_deeply_nested_code_is_not_extracted():
    assert extract_code("x = 1\n" + "(" * 5000 + ")" * 5000) == "x = 1"


def test_judge_keeps_the_order_of_completions():
    completions = ["import time\ntime.sleep(0.3)\nx = 0", "x = 1", "```python\nx = 2\n```", "x = "]
    outcomes = judge(completions, [f"assert x == {expected}" for expected in (0, 7, 2, 3)], workers=2)
    assert [outcome.verdict for outcome in outcomes] == ["pass", "fail", "pass", "error"]


class TestHeldoutLoss:
    def by_hand(self, toy, ds, max_length=2048) -> float:
        """The loss of a plain forward pass, summed over rows and divided by the number of response tokens."""
        model, tokenizer = toy
        total = n = 0
        for sample in prompts.training_samples(
            tokenizer, ds["instruction"][:], ds["response"][:], max_length=max_length
        ):
            ids = torch.tensor([sample.input_ids])
            with torch.inference_mode():
                logits = model(ids).logits[0, sample.first_target - 1 : -1].double()
            total += F.cross_entropy(logits, ids[0, sample.first_target :], reduction="sum").item()
            n += sample.n_targets
        return total / n

    def test_equals_a_hand_computation(self, toy):
        ds = tasks()
        assert heldout_loss(*toy, ds) == pytest.approx(self.by_hand(toy, ds), rel=1e-5)

    def test_is_a_mean_over_tokens_not_over_rows(self, toy):
        ds = tasks()
        means = [self.by_hand(toy, ds.select([i])) for i in range(len(ds))]
        assert heldout_loss(*toy, ds) != pytest.approx(sum(means) / len(means), rel=1e-3)

    def test_a_row_without_room_for_its_response_takes_no_part(self, toy):
        ds, max_length = tasks(), 32
        lengths = [len(ids) for ids in prompts.generation_prompts(toy[1], INSTRUCTIONS)]
        assert min(lengths) < max_length <= max(lengths)
        fitting = ds.select([i for i, length in enumerate(lengths) if length < max_length])
        expected = self.by_hand(toy, fitting, max_length)
        assert heldout_loss(*toy, ds, max_length=max_length) == pytest.approx(expected, rel=1e-5)


class TestGenerate:
    def greedy(self, toy, instruction: str, n: int) -> str:
        model, tokenizer = toy
        (ids,) = prompts.generation_prompts(tokenizer, [instruction])
        written = []
        with torch.inference_mode():
            while len(written) < n:
                token = model(torch.tensor([ids + written])).logits[0, -1].argmax().item()
                if token == tokenizer.eos_token_id:
                    break
                written.append(token)
        return tokenizer.decode(written, skip_special_tokens=True)

    @pytest.mark.parametrize("batch_size", [1, 3, 48])
    def test_left_padded_batches_equal_one_by_one(self, toy, batch_size):
        alone = [self.greedy(toy, instruction, 12) for instruction in INSTRUCTIONS]
        assert len(set(alone)) == len(alone)
        assert generate(*toy, INSTRUCTIONS, max_new_tokens=12, batch_size=batch_size) == alone

    def test_no_instructions_give_no_answers(self, toy):
        assert generate(*toy, []) == []


class TestEvaluate:
    def test_the_report_has_a_row_per_task_and_the_loss(self, toy, toy_model_dir):
        checks = ["", "assert False", "1 / 0", ""]
        folder = str(toy_model_dir("llama"))
        report = evaluate(folder, tasks(check=checks), max_new_tokens=4, dtype="float32", device="cpu")
        assert list(report.tasks) == ["task_id", "base", "plus", "detail", "completion"]
        assert list(report.tasks["task_id"]) == ["a", "b", "c", "d"]
        assert set(report.tasks["base"]) <= {"pass", "fail", "timeout", "error"}
        assert list(report.tasks["completion"]) == generate(*toy, INSTRUCTIONS, max_new_tokens=4)
        assert report.loss_per_token == pytest.approx(heldout_loss(*toy, tasks()), rel=1e-6)

    def test_limit_takes_the_first_tasks(self, toy_model_dir):
        report = evaluate(str(toy_model_dir("llama")), "bundled", limit=2, max_new_tokens=2, dtype="float32")
        assert len(report.tasks) == 2
        assert report.benchmark == "bundled"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"benchmark": "gsm8k"}, r"benchmark='gsm8k' is not known; choose one of .*bundled"),
            ({"benchmark": tasks().remove_columns("check")}, "column 'check' is missing from the dataset"),
            ({"benchmark": tasks().select([])}, "benchmark has no rows"),
            ({"benchmark": tasks(), "limit": 0}, "limit=0 must be a whole number of at least 1"),
            ({"max_new_tokens": 0}, "max_new_tokens=0 must be"),
            ({"batch_size": 0}, "batch_size=0 must be"),
        ],
        ids=["benchmark", "column", "empty", "limit", "max_new_tokens", "batch_size"],
    )
    def test_unusable_arguments_are_refused(self, toy_model_dir, arguments, message):
        with pytest.raises(UserError, match=message):
            evaluate(str(toy_model_dir("llama")), **arguments)

    def test_an_unfinished_run_is_refused(self, toy_model_dir, tmp_path, monkeypatch):
        run = finetune(tasks(), toy_model_dir("llama"), tmp_path, dtype="float32", device="cpu").wait()
        with monkeypatch.context() as patch:
            patch.setattr(Run, "status", "running")
            with pytest.raises(UserError, match=r"the run in .* is running; wait\(\) for it"):
                evaluate(run, tasks())
        assert len(evaluate(run, tasks(), max_new_tokens=1, dtype="float32").tasks) == 4


class TestReport:
    def report(self, *verdicts: str, loss: float | None = None) -> EvalReport:
        return EvalReport("a-model", "bundled", pd.DataFrame({"base": list(verdicts)}), loss)

    def test_pass_at_1_is_a_share_of_all_tasks(self):
        report = self.report("pass", "fail", "error", "timeout", "pass")
        assert report.n_passed == 2
        assert report.pass_at_1 == pytest.approx(0.4)

    def test_pass_at_1_without_tasks_is_0(self):
        assert self.report().pass_at_1 == 0

    def test_repr_shows_pass_at_1_and_the_loss(self):
        assert repr(self.report("pass", "fail")) == "<EvalReport a-model on bundled: pass@1 1/2>"
        assert repr(self.report("pass", loss=1.23456)).endswith("pass@1 1/1, loss 1.2346 nats/token>")

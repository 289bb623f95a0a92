"""The benchmarks: the prompts of each, and how samples of its tasks are judged."""

import json
from dataclasses import dataclass
from pathlib import Path

import datasets

from .. import data
from ..core import tables
from ..core.errors import MissingFileError, UserError, one_of
from . import benchmarks
from .generation.prompt_format import STOPS
from .judging import evalplus, suites
from .judging.assertions import outcome_table, run_with_tests
from .samples import Sample, read_lines

TITLES = {"humaneval": "HumanEval", "humaneval+": "HumanEval+", "mbpp": "MBPP", "mbpp+": "MBPP+"}
BENCHMARKS = ("bundled", *TITLES)
NO_SANITIZE = "sanitize=True needs the tasks of HumanEval or MBPP, which name their function."


@dataclass(frozen=True)
class EvalPlusTasks:
    """HumanEval or MBPP, always judged on both suites by EvalPlus's rules; `name` says which suite
    `pass_at_1` reports, e.g. "humaneval+"."""

    name: str
    benchmark: benchmarks.Benchmark

    @property
    def prompts(self) -> dict[str, str]:
        """task_id -> the code that a model completes."""
        return {task_id: task["prompt"] for task_id, task in self.benchmark.tasks.items()}

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end a raw continuation."""
        return STOPS[self.benchmark.dataset]

    def check(self, sanitize: bool) -> None:
        """Raise UserError if EvalPlus is not available here."""
        evalplus.python_path()

    def judge(self, samples: list[Sample], sanitize: bool) -> dict:
        """Judge `samples`; returns fields of an `EvalReport`."""
        verdicts = suites.judge_samples(self.benchmark, samples, sanitize=sanitize)
        sanitized = {"changed": verdicts.n_sanitized, "emptied": verdicts.n_emptied}
        return self.fields | {
            "tasks": verdicts.tasks,
            "defects": verdicts.defects,
            "sanitized": sanitized if sanitize else None,
        }

    @property
    def fields(self) -> dict:
        """Fields of an `EvalReport` that do not depend on samples."""
        return {
            "benchmark": TITLES[self.name],
            "suite": "plus" if self.name.endswith("+") else "base",
            "versions": {
                "benchmark": self.benchmark.title,
                "benchmark sha256": self.benchmark.sha256,
                "evalplus": evalplus.VERSION,
            },
        }


@dataclass(frozen=True)
class ProgramTasks:
    """Tasks with a test program that runs after the answer; `tests` maps task_id to that program."""

    name: str
    prompts: dict[str, str]
    tests: dict[str, str]
    stops = STOPS["humaneval"]

    def check(self, sanitize: bool) -> None:
        """Raise UserError if `sanitize` is True: it needs the name of a function."""
        if sanitize:
            raise UserError(NO_SANITIZE)

    def judge(self, samples: list[Sample], sanitize: bool) -> dict:
        """Judge `samples`; returns fields of an `EvalReport`."""
        ids, codes = [sample.task_id for sample in samples], [sample.code for sample in samples]
        outcomes = run_with_tests(codes, [self.tests[task_id] for task_id in ids])
        return self.fields | {"tasks": outcome_table(ids, outcomes, codes)}

    @property
    def fields(self) -> dict:
        """Fields of an `EvalReport` that do not depend on samples."""
        return {"benchmark": self.name}


def code_tasks(benchmark: str | datasets.Dataset) -> EvalPlusTasks | ProgramTasks:
    """The tasks of a benchmark: a name, a JSONL file, or a table with `id` and `check`.

    Raises UserError if there is no such benchmark or the file or table is not usable.
    """
    if isinstance(benchmark, str) and benchmark in TITLES:
        return EvalPlusTasks(benchmark, benchmarks.load(benchmark.removesuffix("+")))
    if isinstance(benchmark, str) and benchmark != "bundled":
        return _read_tasks(benchmark)
    table, name = instruction_tasks(benchmark)
    tables.require(table, ["id", "check"], "assertions for each row")
    ids = table["id"][:]
    return ProgramTasks(name, dict.fromkeys(ids, ""), dict(zip(ids, table["check"][:], strict=True)))


def instruction_tasks(benchmark: str | datasets.Dataset) -> tuple[datasets.Dataset, str]:
    """The table of instructions of a benchmark ("bundled" or a table), and its name."""
    if not isinstance(benchmark, str):
        return benchmark, "own tasks"
    one_of("benchmark", benchmark, BENCHMARKS)
    return data.load(benchmark), benchmark


def _read_tasks(benchmark: str) -> ProgramTasks:
    if not (path := Path(benchmark).expanduser()).is_file():
        choices = ", ".join(sorted(BENCHMARKS))
        raise MissingFileError(f"benchmark={benchmark!r} is neither a file of tasks nor one of {choices}.")
    tests, prompts, lines = {}, {}, {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            task = json.loads(line)
            task_id, test, prompt = task["task_id"], task["test"], task.get("prompt", "")
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{path}, line {number}: a task is a JSON object with task_id and test ({error!r})."
            ) from error
        if not all(isinstance(value, str) for value in (task_id, test, prompt)):
            raise UserError(f"{path}, line {number}: task_id, test and prompt must be texts.")
        if task_id in tests:
            raise UserError(
                f"{path}, line {number}: task_id={task_id!r} stands on line {lines[task_id]} too; give each "
                f"task an id of its own."
            )
        tests[task_id], prompts[task_id], lines[task_id] = test, prompt, number
    return ProgramTasks(benchmark, prompts, tests)

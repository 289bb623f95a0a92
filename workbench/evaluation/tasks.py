"""Tasks that ask for code, and how what was written for them is judged: what `evaluate` works on."""

import json
from dataclasses import dataclass
from pathlib import Path

import datasets

from .. import data
from ..core import tables
from ..core.errors import MissingFileError, UserError, one_of
from . import benchmarks
from .generation.asking import STOPS
from .judging import evalplus, suites
from .judging.assertions import program_table, run_all
from .samples import Sample

TITLES = {"humaneval": "HumanEval", "humaneval+": "HumanEval+", "mbpp": "MBPP", "mbpp+": "MBPP+"}
BENCHMARKS = ("bundled", *TITLES)
NO_NAMES = "sanitize=True needs the tasks of HumanEval or MBPP, which name their function."


@dataclass(frozen=True)
class Suites:
    """HumanEval or MBPP, judged by EvalPlus's rules on both suites; `name` says which one is meant."""

    name: str
    benchmark: benchmarks.Benchmark

    @property
    def prompts(self) -> dict[str, str]:
        """task_id -> what a model is given."""
        return {task_id: task["prompt"] for task_id, task in self.benchmark.tasks.items()}

    @property
    def stops(self) -> tuple[str, ...]:
        return STOPS[self.benchmark.dataset]

    def check(self, sanitize: bool) -> None:
        """Raise if these tasks cannot be judged here."""
        evalplus.python_path()

    def judge(self, samples: list[Sample], sanitize: bool) -> dict:
        """Fields of an `EvalReport`."""
        judged = suites.judge_samples(self.benchmark, samples, sanitize=sanitize)
        return {
            "benchmark": TITLES[self.name],
            "suite": "plus" if self.name.endswith("+") else "base",
            "tasks": judged.tasks,
            "defects": judged.defects,
            "sanitized": {"changed": judged.n_sanitized, "emptied": judged.n_emptied} if sanitize else None,
            "versions": {
                "benchmark": self.benchmark.title,
                "benchmark sha256": self.benchmark.sha256,
                "evalplus": evalplus.VERSION,
            },
        }


@dataclass(frozen=True)
class Programs:
    """Tasks whose tests are a program that runs behind the answer; `tests` is task_id -> that program."""

    name: str
    prompts: dict[str, str]
    tests: dict[str, str]
    stops = STOPS["humaneval"]

    def check(self, sanitize: bool) -> None:
        """Raise if these tasks cannot be judged so."""
        if sanitize:
            raise UserError(NO_NAMES)

    def judge(self, samples: list[Sample], sanitize: bool) -> dict:
        """Fields of an `EvalReport`."""
        ids, codes = [sample.task_id for sample in samples], [sample.code for sample in samples]
        outcomes = run_all(codes, [self.tests[task_id] for task_id in ids])
        return {"benchmark": self.name, "tasks": program_table(ids, outcomes, codes)}


def code_tasks(benchmark: str | datasets.Dataset) -> Suites | Programs:
    """The tasks of a benchmark's name, of a JSONL file, or of a table."""
    if isinstance(benchmark, str) and benchmark in TITLES:
        return Suites(benchmark, benchmarks.load(benchmark.removesuffix("+")))
    if isinstance(benchmark, str) and benchmark != "bundled":
        return _own(benchmark)
    table, name = instruction_tasks(benchmark)
    tables.require(table, ["id", "check"], "assertions for each row")
    ids = table["id"][:]
    return Programs(name, dict.fromkeys(ids, ""), dict(zip(ids, table["check"][:], strict=True)))


def instruction_tasks(benchmark: str | datasets.Dataset) -> tuple[datasets.Dataset, str]:
    """A table of instructions, and its name."""
    if not isinstance(benchmark, str):
        return benchmark, "own tasks"
    one_of("benchmark", benchmark, BENCHMARKS)
    return data.load(benchmark), benchmark


def _own(benchmark: str) -> Programs:
    if not (path := Path(benchmark).expanduser()).is_file():
        choices = ", ".join(sorted(BENCHMARKS))
        raise MissingFileError(f"benchmark={benchmark!r} is neither a file of tasks nor one of {choices}.")
    tests, prompts = {}, {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
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
        tests[task_id], prompts[task_id] = test, prompt
    return Programs(benchmark, prompts, tests)

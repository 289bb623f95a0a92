"""`evaluate`: a model, or samples that a model wrote elsewhere, on a benchmark."""

import json
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import datasets
import pandas as pd

from .. import data, models, tables
from ..errors import MissingFileError, UserError, one_of, positive
from ..training import Run
from . import benchmarks, evalplus_home, judging, sandbox
from .generation import extract_code, generate
from .heldout import heldout_loss
from .report import EvalReport
from .samples import read_samples, writable
from .sandbox import Outcome, run_program

_TITLES = {"humaneval": "HumanEval", "humaneval+": "HumanEval+", "mbpp": "MBPP", "mbpp+": "MBPP+"}
BENCHMARKS = ("bundled", *_TITLES)


def evaluate(
    model: Run | str | None = None,
    benchmark: str | datasets.Dataset = "bundled",
    *,
    samples: str | os.PathLike | None = None,
    sanitize: bool = False,
    limit: int | None = None,
    template: str = "auto",
    max_new_tokens: int = 512,
    batch_size: int = 48,
    dtype: str = "auto",
    device: str = "auto",
) -> EvalReport:
    """Ask `model` (a finished run, a name or a folder) every task, run what it writes, and take the held-out
    loss; or, with `samples` (a file in EvalPlus's format) and no model, judge what was written before.

    `benchmark` is "bundled"; "humaneval", "humaneval+", "mbpp" or "mbpp+" (with samples only, judged by
    EvalPlus's rules: both suites always, the name says which one `pass_at_1` means); a JSONL file of tasks
    with `task_id`, `test` and perhaps `prompt` (with samples only); or a table with `id`, `instruction`,
    `response` (the reference) and `check`: assertions that run after the completion. A run's own training
    rows are not taken out: pass a table that it has not seen. `sanitize` passes samples through EvalPlus's
    sanitizer first. All code runs in a sandbox (`evaluation.sandbox` says what it covers).
    """
    positive("max_new_tokens", max_new_tokens)
    positive("batch_size", batch_size)
    if (model is None) == (samples is None):
        raise UserError("evaluate takes a model or samples=FILE, one of the two.")
    if samples is not None:
        return _evaluate_samples(Path(samples).expanduser(), benchmark, sanitize)
    sandbox.level()  # before the time that generating takes
    if isinstance(model, Run):
        if model.status not in ("done", "stopped"):
            raise UserError(
                f"the run in {model.output_dir} is {model.status}; wait() for it before evaluating."
            )
        model = str(model.model_dir)
    tasks, name = _tasks(benchmark)
    tables.require(tasks, ["id", "instruction", "response", "check"], "assertions for each row")
    if limit is not None:
        positive("limit", limit)
        tasks = tasks.select(range(min(limit, len(tasks))))
    if not len(tasks):
        raise UserError("benchmark has no rows; give a table with at least one task.")
    loaded, tokenizer = models.load_model(model, dtype, device)
    loss = heldout_loss(loaded, tokenizer, tasks, template=template)
    completions = generate(
        loaded,
        tokenizer,
        tasks["instruction"][:],
        template=template,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )
    table = _program_table(tasks["id"][:], judge(completions, tasks["check"][:]), completions)
    return EvalReport(model, name, table, loss, versions=_versions())


def _tasks(benchmark: str | datasets.Dataset) -> tuple[datasets.Dataset, str]:
    if not isinstance(benchmark, str):
        return benchmark, "own tasks"
    one_of("benchmark", benchmark, BENCHMARKS)
    if benchmark in _TITLES:
        raise UserError(
            f"benchmark={benchmark!r} judges samples that were written elsewhere; give them as samples=FILE."
        )
    return data.load(benchmark), benchmark


def judge(completions: list[str], checks: list[str], workers: int | None = None) -> list[Outcome]:
    """Run each completion's code followed by its checks; as many at once as there are cores."""
    programs = [f"{extract_code(text)}\n\n{check}\n" for text, check in zip(completions, checks, strict=True)]
    return _run_all(programs, workers)


def _run_all(programs: list[str], workers: int | None = None) -> list[Outcome]:
    sandbox.level()
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return list(pool.map(run_program, programs))


def _evaluate_samples(path: Path, benchmark: str | datasets.Dataset, sanitize: bool) -> EvalReport:
    if not isinstance(benchmark, str) or benchmark not in _TITLES:
        if sanitize:
            raise UserError("sanitize=True needs the tasks of HumanEval or MBPP, which name their function.")
        return _evaluate_programs(path, benchmark)
    known = benchmarks.load(benchmark.removesuffix("+"))
    found = read_samples(path, {name: task["prompt"] for name, task in known.tasks.items()})
    judged = judging.judge_samples(known, found.samples, sanitize=sanitize)
    versions = {
        "benchmark": known.title,
        "benchmark sha256": known.sha256,
        "evalplus": evalplus_home.VERSION,
        **_versions(),
    }
    return EvalReport(
        path.name,
        _TITLES[benchmark],
        judged.tasks,
        suite="plus" if benchmark.endswith("+") else "base",
        missing=found.missing,
        problems=found.problems,
        defects=judged.defects,
        versions=versions,
        sanitized={"changed": judged.n_sanitized, "emptied": judged.n_emptied} if sanitize else None,
    )


def _evaluate_programs(path: Path, benchmark: str | datasets.Dataset) -> EvalReport:
    """Samples of tasks whose tests are a program that runs behind the sample."""
    name = benchmark if isinstance(benchmark, str) else "own tasks"
    tests, prompts = _own_tests(benchmark)
    found = read_samples(path, prompts)
    codes = [sample.code for sample in found.samples]
    ids = [sample.task_id for sample in found.samples]
    outcomes = _run_all([f"{code}\n\n{tests[task]}\n" for code, task in zip(codes, ids, strict=True)])
    return EvalReport(
        path.name,
        name,
        _program_table(ids, outcomes, codes),
        missing=found.missing,
        problems=found.problems,
        versions=_versions(),
    )


def _own_tests(benchmark: str | datasets.Dataset) -> tuple[dict[str, str], dict[str, str]]:
    """task_id -> test program, and task_id -> prompt."""
    if benchmark == "bundled" or not isinstance(benchmark, str):
        tasks, _ = _tasks(benchmark)
        tables.require(tasks, ["id", "check"], "assertions for each row")
        return dict(zip(tasks["id"][:], tasks["check"][:], strict=True)), dict.fromkeys(tasks["id"][:], "")
    if not (path := Path(benchmark).expanduser()).is_file():
        choices = ", ".join(sorted(BENCHMARKS))
        raise MissingFileError(f"benchmark={benchmark!r} is neither a file of tasks nor one of {choices}.")
    tests, prompts = {}, {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            task = json.loads(line)
            task_id, test = task["task_id"], task["test"]
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{path}, line {number}: a task is a JSON object with task_id and test ({error!r})."
            ) from error
        tests[task_id], prompts[task_id] = test, task.get("prompt", "")
    return tests, prompts


def _program_table(ids: list[str], outcomes: list[Outcome], completions: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task_id": ids,
            "base": [outcome.verdict for outcome in outcomes],
            "plus": None,
            "detail": [writable(outcome.detail) for outcome in outcomes],
            "completion": [writable(text) for text in completions],
        }
    )


def _versions() -> dict[str, str]:
    try:
        own = version("codetune-workbench")
    except ModuleNotFoundError:  # a checkout on the path
        own = "unknown"
    return {"workbench": own, "python": platform.python_version(), "sandbox": str(sandbox.level())}

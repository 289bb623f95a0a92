"""What the reference solutions of a benchmark give: computed in the sandbox once, stored by the judges."""

import json
import platform
from collections.abc import Iterator

from ...core import progress
from ...core.store import Store, digest
from ..benchmarks import Benchmark
from . import evalplus
from .pool import Judges

ANSWERS = "reference answers"  # the kind under which they are stored
SUITES = ("base", "plus")


def about(key: str) -> str:
    """The key of a summary of the reference answers under `key`."""
    return f"about {key}"


def told(benchmark: Benchmark, task_id: str) -> dict:
    """What a judge is told of a task."""
    task = benchmark.tasks[task_id]
    return {"dataset": benchmark.dataset, "entry_point": task["entry_point"], "atol": task["atol"]}


def references(
    benchmark: Benchmark, task_ids: list[str], judges: Judges
) -> Iterator[tuple[tuple[str, str], dict]]:
    """For each (task_id, suite), where its reference answers are stored ("key") and whether all inputs have
    one, as soon as that is known; computed once for a task, an EvalPlus and a Python."""
    made_by = [evalplus.VERSION, platform.python_version(), "wire 4"]
    keys = {
        (name, suite): digest(made_by, suite, benchmark.tasks[name]) for name in task_ids for suite in SUITES
    }
    stored = Store(ANSWERS).get(map(about, keys.values()))
    absent = [place for place, key in keys.items() if about(key) not in stored]
    answers = judges.map([_reference(benchmark, *place, keys[place]) for place in absent])
    for place, key in keys.items():
        if about(key) in stored:
            yield place, json.loads(stored[about(key)]) | {"key": key}
    with progress.bar(len(absent), "reference answers", unit="suite") as bar:
        for place, answer in zip(absent, answers, strict=True):
            if "failed" in answer:
                raise RuntimeError(f"no reference answers for {place[0]}: {answer['failed']}")
            yield place, answer | {"key": keys[place]}
            bar.update(1)


def _reference(benchmark: Benchmark, task_id: str, suite: str, key: str) -> dict:
    task = benchmark.tasks[task_id]
    solution = task["prompt"] + task["canonical_solution"]
    about_it = told(benchmark, task_id) | {"task_id": task_id, "solution": solution}
    return {"do": "reference", "task": about_it, "inputs": task[f"{suite}_input"], "key": key}

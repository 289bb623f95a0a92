"""What the reference solutions of a benchmark give: computed in the sandbox once, stored by the judges."""

import json
import platform

from .. import progress
from ..store import Store, digest
from . import evalplus_home
from .benchmarks import Benchmark
from .judges import Judges

ANSWERS = "reference answers"  # the kind under which they are stored
SUITES = ("base", "plus")


def about(key: str) -> str:
    """The key of a summary of the reference answers under `key`."""
    return f"about {key}"


def told(benchmark: Benchmark, task_id: str) -> dict:
    """What a judge is told of a task."""
    task = benchmark.tasks[task_id]
    return {"dataset": benchmark.dataset, "entry_point": task["entry_point"], "atol": task["atol"]}


def references(benchmark: Benchmark, task_ids: set[str], judges: Judges) -> dict[tuple[str, str], dict]:
    """(task_id, suite) -> where its reference answers are stored ("key") and whether all inputs have one;
    computed once for a task, an EvalPlus and a Python."""
    made_by = [evalplus_home.VERSION, platform.python_version(), "wire 4"]
    keys = {
        (name, suite): digest(made_by, suite, benchmark.tasks[name])
        for name in sorted(task_ids)
        for suite in SUITES
    }
    stored = Store(ANSWERS).get(map(about, keys.values()))
    known = {place: json.loads(stored[about(key)]) for place, key in keys.items() if about(key) in stored}
    absent = [place for place in keys if place not in known]
    requests = [_reference(benchmark, *place, keys[place]) for place in absent]
    with progress.bar(len(absent), "reference answers", unit="suite") as bar:
        for place, answer in zip(absent, judges.map(requests), strict=True):
            if "failed" in answer:
                raise RuntimeError(f"no reference answers for {place[0]}: {answer['failed']}")
            known[place] = answer
            bar.update(1)
    return {place: summary | {"key": keys[place]} for place, summary in known.items()}


def _reference(benchmark: Benchmark, task_id: str, suite: str, key: str) -> dict:
    task = benchmark.tasks[task_id]
    solution = task["prompt"] + task["canonical_solution"]
    about_it = told(benchmark, task_id) | {"task_id": task_id, "solution": solution}
    return {"do": "reference", "task": about_it, "inputs": task[f"{suite}_input"], "key": key}

"""What a benchmark's reference solutions return: computed once in the sandbox, then stored."""

import json
import platform
from collections.abc import Iterator

from ...core import progress
from ...core.store import Store, digest
from ..benchmarks import Benchmark
from . import evalplus
from .pool import WorkerPool

STORE = "reference answers"  # the kind of these entries in the store
SUITES = ("base", "plus")


def summary_key(key: str) -> str:
    """The store's key for the summary of the reference answers under `key`."""
    return f"about {key}"


def task_fields(benchmark: Benchmark, task_id: str) -> dict:
    """What a worker needs to know of a task in order to compare."""
    task = benchmark.tasks[task_id]
    return {"dataset": benchmark.dataset, "entry_point": task["entry_point"], "atol": task["atol"]}


def references(
    benchmark: Benchmark, task_ids: list[str], workers: WorkerPool
) -> Iterator[tuple[tuple[str, str], dict]]:
    """Yields ((task_id, suite), summary) for each suite of each task, as soon as its answers are stored.

    A summary has "key" (of the answers in the store), "inputs" (how many the suite has), "answered" (how many
    the reference solution answers) and "why" (it does not answer the rest, else None). Answers are computed
    once for each version of the task, EvalPlus and Python. Raises RuntimeError if a worker fails.
    """
    versions = [evalplus.VERSION, platform.python_version(), "wire 4"]
    keys = {
        (name, suite): digest(versions, suite, benchmark.tasks[name]) for name in task_ids for suite in SUITES
    }
    stored = Store(STORE).get(map(summary_key, keys.values()))
    missing = [pair for pair, key in keys.items() if summary_key(key) not in stored]
    replies = workers.map([_request(benchmark, *pair, keys[pair]) for pair in missing])
    for pair, key in keys.items():
        if summary_key(key) in stored:
            yield pair, json.loads(stored[summary_key(key)]) | {"key": key}
    with progress.bar(len(missing), "reference answers", unit="suite") as bar:
        for pair, reply in zip(missing, replies, strict=True):
            if "failed" in reply:
                raise RuntimeError(f"no reference answers for {pair[0]}: {reply['failed']}")
            yield pair, reply | {"key": keys[pair]}
            bar.update(1)


def _request(benchmark: Benchmark, task_id: str, suite: str, key: str) -> dict:
    task = benchmark.tasks[task_id]
    solution = task["prompt"] + task["canonical_solution"]
    fields = task_fields(benchmark, task_id) | {"task_id": task_id, "solution": solution}
    return {"do": "reference", "task": fields, "inputs": task[f"{suite}_input"], "key": key}

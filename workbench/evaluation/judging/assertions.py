"""Judge code by a program of assertions that runs after it."""

import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pandas as pd

from ...core.cpus import cpu_count
from .. import sandbox
from ..samples import writable
from ..sandbox.forks import starter
from ..sandbox.run import PROGRAM_SECONDS, Outcome, run_program
from .extraction import extract_code


def judge(completions: list[str], checks: list[str], workers: int | None = None) -> list[Outcome]:
    """Run the code of each completion followed by its checks; returns the outcomes in the same order.

    `extract_code` takes the code out of a completion. `checks` are programs, usually assertions, that see the
    names of the code. `workers` programs run at a time, by default as many as there are cores; each may use 5
    s of CPU time. Raises SandboxError if this machine cannot confine code. Code written to cheat can pass
    (`run_program`).
    """
    return run_with_tests([extract_code(text) for text in completions], checks, workers)


def run_with_tests(
    codes: list[str], tests: list[str], workers: int | None = None, seconds: float = PROGRAM_SECONDS
) -> list[Outcome]:
    """Run each of `codes` followed by its tests; returns the outcomes in the same order.

    `seconds` limits the CPU time of each. Runs start as forks (`sandbox.forks`), 4 ms each instead of 33.
    """
    level = sandbox.level()
    programs = [f"{code}\n\n{test}\n" for code, test in zip(codes, tests, strict=True)]
    workers = workers or cpu_count()
    with ExitStack() as stack:
        idle = queue.SimpleQueue()  # a starter serves one run at a time
        for _ in range(min(workers, len(programs))):
            idle.put(stack.enter_context(starter(level)))

        def run(program: str) -> Outcome:
            start = idle.get()
            try:
                return run_program(program, seconds, start)
            finally:
                idle.put(start)

        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(run, programs))


def outcome_table(ids: list[str], outcomes: list[Outcome], completions: list[str]) -> pd.DataFrame:
    """`EvalReport.tasks` for a benchmark with a single test suite."""
    return pd.DataFrame(
        {
            "task_id": ids,
            "base": [outcome.verdict for outcome in outcomes],
            "plus": None,
            "detail": [writable(outcome.detail) for outcome in outcomes],
            "completion": [writable(text) for text in completions],
        }
    )

"""Answers judged by a program that runs behind them."""

import os
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from .. import sandbox
from ..generation.extraction import extract_code
from ..samples import writable
from ..sandbox.run import Outcome, run_program


def judge(completions: list[str], checks: list[str], workers: int | None = None) -> list[Outcome]:
    """Run each completion's code followed by its checks; as many at once as there are cores."""
    return run_all([extract_code(text) for text in completions], checks, workers)


def run_all(codes: list[str], tests: list[str], workers: int | None = None) -> list[Outcome]:
    """Run each of `codes` followed by its tests."""
    sandbox.level()
    programs = [f"{code}\n\n{test}\n" for code, test in zip(codes, tests, strict=True)]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return list(pool.map(run_program, programs))


def program_table(ids: list[str], outcomes: list[Outcome], completions: list[str]) -> pd.DataFrame:
    """The `tasks` of a report on such tasks."""
    return pd.DataFrame(
        {
            "task_id": ids,
            "base": [outcome.verdict for outcome in outcomes],
            "plus": None,
            "detail": [writable(outcome.detail) for outcome in outcomes],
            "completion": [writable(text) for text in completions],
        }
    )

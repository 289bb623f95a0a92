"""EvalPlus's own rules of comparison, its oracles and its sanitizer; used in the judge's process alone.

EvalPlus compares inside the process that ran the code. Here its checker (`unsafe_execute`) is given, in place
of a solution, a function that reads the next answer from the sandbox, so every rule about tolerance, types
and special tasks is EvalPlus's, on values that arrived as plain data.
"""

import contextlib
from collections.abc import Callable
from types import SimpleNamespace

import evalplus.eval as evalplus
from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS

MIN_SECONDS, FACTOR = evalplus.DEFAULT_MIN_TIME_LIMIT, evalplus.DEFAULT_GT_TIME_LIMIT_FACTOR
_LONG = 3600.0  # seconds that the checker may wait for an answer: the sandbox has limits of its own
_ANSWER = f"from {__name__} import answering as {{name}}"
_asked: list[Callable] = []

# They guard against code that runs in this process. None does, and they would take `open` and `kill` away.
evalplus.reliability_guard = lambda *_, **__: None
evalplus.create_tempdir = contextlib.nullcontext


def answering(*arguments):
    """What the checker calls as if it were the solution."""
    return _asked[-1]()


def check(
    dataset: str, entry_point: str, inputs: list, expected: list, atol: float, answer: Callable
) -> tuple[bool, bool]:
    """(whether every answer is right, whether EvalPlus would say so), stopping at the first wrong answer.

    They differ for HumanEval/32: the checker skips its book-keeping there, so that EvalPlus fails every
    solution, its own included.
    """
    stat, progress = SimpleNamespace(value=None), SimpleNamespace(value=0)
    details = [False] * len(inputs)
    limits = [_LONG] * len(inputs)
    code = _ANSWER.format(name=entry_point)
    _asked.append(answer)
    try:
        evalplus.unsafe_execute(
            dataset, entry_point, code, inputs, expected, limits, atol, True, stat, details, progress
        )
    finally:
        _asked.pop()
    right = evalplus._mapping[stat.value] == evalplus.PASS
    return right, right and progress.value == len(inputs) and all(details)


def arguments(dataset: str, task_id: str, inputs: list) -> list:
    """The argument lists in `inputs` with the types that the task takes: JSON knows no tuples, MBPP does."""
    if dataset != "mbpp":
        return inputs
    from evalplus.data.mbpp import mbpp_deserialize_inputs

    return mbpp_deserialize_inputs(task_id, inputs)


def wanted(dataset: str, entry_point: str, value):
    """What an answer is compared with, from what the reference solution gave."""
    if dataset == "mbpp" and entry_point in MBPP_OUTPUT_NOT_NONE_TASKS:
        return value is not None
    return value


def sanitize(code: str, entry_point: str) -> str:
    from evalplus.sanitize import sanitize

    return sanitize(code, entry_point)

"""EvalPlus's own rules of comparison, its special oracles and its sanitizer. Only worker processes import
this.

EvalPlus compares in the process that runs the code. Here its checker (`unsafe_execute`) gets a function in
place of the solution that returns the next value from the sandbox. So every rule about tolerances, types and
special tasks is EvalPlus's own, applied to values that arrived as plain data.
"""

import contextlib
from collections.abc import Callable
from types import SimpleNamespace

import evalplus.eval as evalplus
from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS

MIN_SECONDS, FACTOR = evalplus.DEFAULT_MIN_TIME_LIMIT, evalplus.DEFAULT_GT_TIME_LIMIT_FACTOR
_LONG = 3600.0  # seconds; the checker's own time limit, never reached: the sandbox has stricter ones
_STAND_IN = f"from {__name__} import stand_in as {{name}}"
_next_value: list[Callable] = []  # the last one supplies the values of the check in progress

# These guard against code that runs in this process. None does, and they would disable `open` and `kill`.
evalplus.reliability_guard = lambda *_, **__: None
evalplus.create_tempdir = contextlib.nullcontext


def stand_in(*arguments):
    """What the checker calls in place of the solution."""
    return _next_value[-1]()


def check(
    dataset: str, entry_point: str, inputs: list, expected: list, atol: float, next_value: Callable
) -> tuple[bool, bool]:
    """(whether all values are right, whether EvalPlus would pass them); stops at the first wrong value.

    The two differ for HumanEval/32, where the checker skips its bookkeeping, so that EvalPlus fails every
    solution, its own included.
    """
    stat, progress = SimpleNamespace(value=None), SimpleNamespace(value=0)
    details = [False] * len(inputs)
    limits = [_LONG] * len(inputs)
    code = _STAND_IN.format(name=entry_point)
    _next_value.append(next_value)
    try:
        evalplus.unsafe_execute(
            dataset, entry_point, code, inputs, expected, limits, atol, True, stat, details, progress
        )
    finally:
        _next_value.pop()
    right = evalplus._mapping[stat.value] == evalplus.PASS
    return right, right and progress.value == len(inputs) and all(details)


def typed_inputs(dataset: str, task_id: str, inputs: list) -> list:
    """The argument lists in `inputs` with the types that the task expects: JSON has no tuples, MBPP does."""
    if dataset != "mbpp":
        return inputs
    from evalplus.data.mbpp import mbpp_deserialize_inputs

    return mbpp_deserialize_inputs(task_id, inputs)


def expected_value(dataset: str, entry_point: str, value):
    """What to compare a solution's value with, given the reference solution's `value`."""
    if dataset == "mbpp" and entry_point in MBPP_OUTPUT_NOT_NONE_TASKS:
        return value is not None
    return value


def sanitize(code: str, entry_point: str) -> str:
    """`code` as EvalPlus's sanitizer leaves it: what `entry_point` needs."""
    from evalplus.sanitize import sanitize

    return sanitize(code, entry_point)

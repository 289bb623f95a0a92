"""The model of what a fine-tuning takes: measured passes -> coefficients, coefficients and a plan -> cost.

    seconds = pass_seconds * passes + step_seconds * steps
            + token_seconds * computed tokens + square_seconds * sum over samples of length^2
    bytes   = fixed_bytes + token_bytes * computed tokens of the largest pass

A pass is one batch forward and backward; a step is the optimizer's. Computed tokens are those of the padded
rows, which every matrix product sees; attention (the squares) sees samples without padding. With one pass a
step, gradients come as activations go and take their place: that saves up to `gradient_bytes`, but not what
the optimizer needs, which is `fixed_bytes`. Not in it: another share of predicted tokens than that of
`measure`, loading, saving, and several GPUs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import positive
from ..packing import PackPlan

_LARGEST = 4  # passes to fit to, of different sizes: small products run at another speed


@dataclass(frozen=True)
class Cost:
    """`seconds` without loading and saving. `peak_bytes` of a process that does nothing else, or on a GPU
    what is allocated there."""

    steps: int
    seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return f"{self.steps:,} steps, {_duration(self.seconds)}, peak {self.peak_bytes / 2**30:.1f} GiB"


def _duration(seconds: float) -> str:
    """ "about 40 s", "about 14 min", "about 3.5 h"."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Calibration:
    """What one model with one method takes on one machine; the terms are those of this module."""

    pass_seconds: float
    step_seconds: float
    token_seconds: float
    square_seconds: float
    fixed_bytes: float
    gradient_bytes: float
    token_bytes: float

    def predict(self, plan: PackPlan, epochs: int = 1, accumulation: int = 1) -> Cost:
        """Cost of training `epochs` times on `plan`, with `accumulation` passes in an optimizer step."""
        positive("epochs", epochs)
        positive("accumulation", accumulation)
        tokens, squares = _work(plan)
        passes = epochs * len(tokens)
        steps = math.ceil(passes / accumulation)
        seconds = self.pass_seconds * passes + self.step_seconds * steps
        seconds += epochs * (self.token_seconds * int(tokens.sum()) + self.square_seconds * squares)
        return Cost(steps, seconds, self._peak(int(tokens.max(initial=0)), accumulation))

    def _peak(self, tokens: int, accumulation: int) -> int:
        grown = self.token_bytes * tokens
        if accumulation == 1:
            grown = max(0.0, grown - self.gradient_bytes)
        return round(self.fixed_bytes + grown)


def _work(plan: PackPlan) -> tuple[np.ndarray, float]:
    """Computed tokens [n_passes] of one epoch, and the sum of the squared lengths of its samples."""
    starts, sizes = plan.layout.batches[:-1], plan.pieces.size.astype(float)
    if not len(starts):
        return np.zeros(0, np.int64), 0.0
    width = plan.max_length if plan.to_max else np.maximum.reduceat(plan.row_tokens, starts)
    return np.diff(plan.layout.batches) * width, float(sizes @ sizes)


def fit(passes: Sequence[dict], gradient_bytes: int) -> Calibration:
    """The coefficients nearest to the `passes` that `measure` found, none below zero."""
    found = sorted(_medians(passes), key=lambda one: one["tokens"])[-_LARGEST:]
    column = {name: np.array([one[name] for one in found], float) for name in found[0]}
    once = np.ones(len(found))
    # Relative errors count: else the largest pass alone would decide.
    time = _non_negative(
        [once, column["ends_step"], column["tokens"], column["squares"]], column["seconds"], column["seconds"]
    )
    full = column["ends_step"] == 1  # gradients are there already
    memory = _non_negative([once[full], column["tokens"][full]], column["peak_bytes"][full], once[full])
    fixed, per_token = memory
    return Calibration(*time, fixed, float(gradient_bytes), per_token)


def _medians(passes: Sequence[dict]) -> list[dict]:
    """One for all passes that did the same work."""
    alike: dict[tuple, list[dict]] = {}
    for one in passes:
        alike.setdefault((one["tokens"], one["squares"], one["ends_step"]), []).append(one)
    return [
        {name: float(np.median([one[name] for one in group])) for name in group[0]}
        for group in alike.values()
    ]


def _non_negative(parts: list[np.ndarray], wanted: np.ndarray, unit: np.ndarray) -> tuple[float, ...]:
    """Factors of `parts` [n_parts][n] whose sum is nearest to `wanted` [n], errors counted in `unit` [n]."""
    from scipy.optimize import nnls

    matrix = np.stack(parts, 1) / unit[:, None]
    scale = np.linalg.norm(matrix, axis=0)  # squares are a million times what a constant is
    found, _ = nnls(matrix / scale, wanted / unit)
    return tuple((found / scale).tolist())

"""The cost model of a fine-tuning run: fit its coefficients to measured passes, then apply it to a plan.

    seconds = pass_seconds * passes + step_seconds * steps
            + token_seconds * computed tokens + square_seconds * sum over samples of length^2
    bytes   = fixed_bytes + token_bytes * computed tokens of the largest pass

A pass is the forward and backward pass of one batch; a step is an optimizer step. Computed tokens include
padding, since every matrix product processes it; attention (the squares) sees samples without padding. With
one pass per step, gradients appear while activations are freed and reuse their memory. This saves up to
`gradient_bytes`, but never less than the optimizer needs, which is `fixed_bytes`.

Not covered: a share of predicted tokens other than that of `measure`, loading, saving, evaluation, and
several GPUs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import positive
from ..packing import PackPlan

_N_LARGEST = 4  # distinct pass sizes to fit to: small matrix products run at another speed


@dataclass(frozen=True)
class Cost:
    """The predicted cost of a fine-tuning run; `str()` gives e.g. "1,200 steps, about 14 min, peak 3.1 GiB".

    steps        optimizer steps
    seconds      training time, without loading, saving and evaluation
    peak_bytes   peak memory of the training, above what its process holds without it: resident memory or,
                 on a GPU, the memory allocated there
    """

    steps: int
    seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return f"{self.steps:,} steps, {_duration(self.seconds)}, peak {self.peak_bytes / 2**30:.1f} GiB"


def _duration(seconds: float) -> str:
    """Return e.g. "about 40 s", "about 14 min" or "about 3.5 h"."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Calibration:
    """The cost of training one model with one method on one machine. `calibrate` makes it.

    pass_seconds     fixed time of a pass (forward and backward pass of one batch)
    step_seconds     time of an optimizer step
    token_seconds    time per computed token, padding included
    square_seconds   time per squared length of a sample, which is attention's share
    fixed_bytes      memory of weights, gradients and optimizer state
    gradient_bytes   memory of the gradients
    token_bytes      memory per computed token of the largest pass
    """

    pass_seconds: float
    step_seconds: float
    token_seconds: float
    square_seconds: float
    fixed_bytes: float
    gradient_bytes: float
    token_bytes: float

    def predict(self, plan: PackPlan, epochs: int = 1, accumulation: int = 1) -> Cost:
        """Predict the cost of training for `epochs` on `plan`, with `accumulation` passes per optimizer step.

        Not covered: loading, saving, evaluation and several GPUs. Raises UserError if `epochs` or
        `accumulation` is not a whole number of at least 1.
        """
        positive("epochs", epochs)
        positive("accumulation", accumulation)
        tokens, squares = _work(plan)
        passes = epochs * len(tokens)
        steps = math.ceil(passes / accumulation)
        seconds = self.pass_seconds * passes + self.step_seconds * steps
        seconds += epochs * (self.token_seconds * int(tokens.sum()) + self.square_seconds * squares)
        return Cost(steps, seconds, self._peak(int(tokens.max(initial=0)), accumulation))

    def _peak(self, tokens: int, accumulation: int) -> int:
        activations = self.token_bytes * tokens
        if accumulation == 1:
            activations = max(0.0, activations - self.gradient_bytes)
        return round(self.fixed_bytes + activations)


def _work(plan: PackPlan) -> tuple[np.ndarray, float]:
    """Return computed tokens (int64 [n_passes]) of one epoch, and the sum of its squared sample lengths."""
    starts, sizes = plan.layout.batches[:-1], plan.pieces.size.astype(float)
    if not len(starts):
        return np.zeros(0, np.int64), 0.0
    width = plan.max_length if plan.to_max else np.maximum.reduceat(plan.row_tokens, starts)
    return np.diff(plan.layout.batches) * width, float(sizes @ sizes)


def fit(passes: Sequence[dict], gradient_bytes: int) -> Calibration:
    """Return the non-negative coefficients that fit the measured `passes` best."""
    largest = sorted(_medians(passes), key=lambda measured: measured["tokens"])[-_N_LARGEST:]
    column = {name: np.array([measured[name] for measured in largest], float) for name in largest[0]}
    ones = np.ones(len(largest))
    # Relative errors are minimized; with absolute ones, the largest pass alone would decide.
    time = _non_negative(
        [ones, column["ends_step"], column["tokens"], column["squares"]], column["seconds"], column["seconds"]
    )
    # Only the second pass of a step runs while gradients are in memory.
    full = column["ends_step"] == 1
    fixed, per_token = _non_negative(
        [ones[full], column["tokens"][full]], column["peak_bytes"][full], ones[full]
    )
    return Calibration(*time, fixed, float(gradient_bytes), per_token)


def _medians(passes: Sequence[dict]) -> list[dict]:
    """Replace the passes that did the same work by their median."""
    groups: dict[tuple, list[dict]] = {}
    for measured in passes:
        work = measured["tokens"], measured["squares"], measured["ends_step"]
        groups.setdefault(work, []).append(measured)
    return [
        {name: float(np.median([measured[name] for measured in group])) for name in group[0]}
        for group in groups.values()
    ]


def _non_negative(columns: list[np.ndarray], target: np.ndarray, unit: np.ndarray) -> tuple[float, ...]:
    """Return non-negative factors of `columns` [n_columns][n] whose sum is closest to `target` [n] in least
    squares, with errors measured in `unit` [n]."""
    from scipy.optimize import nnls

    matrix = np.stack(columns, 1) / unit[:, None]
    scale = np.linalg.norm(matrix, axis=0)  # squared lengths are a million times larger than a constant
    factors, _ = nnls(matrix / scale, target / unit)
    return tuple((factors / scale).tolist())

"""`pack`: plan one epoch of packed batches from the lengths of the samples."""

from collections.abc import Sequence

import datasets
import numpy as np

from ..core import tables
from ..core.errors import UserError, one_of, positive, seed_of
from . import overlong as policy
from .plan import PackPlan, Rows
from .registry import PACKERS

MOST_TOKENS = 10_000_000  # of a row: packers keep counts for every length up to it


def pack(
    source: datasets.Dataset | Sequence[int],
    max_length: int = 2048,
    strategy: str = "dynamic",
    *,
    batch_size: int = 16,
    overlong: str = "truncate",
    seed: int | None = 0,
) -> PackPlan:
    """Plan one epoch of training: assign samples to rows, and rows to batches.

    Strategies that pack within a batch. Each step sees the same samples as without packing, so the loss and
    the weights are the same:

    - "max": one row per sample, padded to `max_length`.
    - "pad": one row per sample, padded to the longest of its batch (dynamic padding).
    - "dynamic": the paper's dynamic pack (arXiv 2504.12687, section 4.2). Shortest first; a new row starts
      when the next sample does not fit.
    - "balanced": samples spread evenly over the number of rows that pads least.
    - "flat": all samples of a batch in one row of any length, without padding.

    Strategies that pack over the whole set. They change which samples share a step and possibly the number of
    steps; a step sees about `batch_size` samples (see `plan.samples_per_step`):

    - "bfd": best-fit decreasing.
    - "exact": rows filled to exactly `max_length` tokens where the lengths allow it. It pads less than the
      other strategies with rows of bounded length.

    Rows are padded to the longest row of their batch, except with "max". Planning takes
    milliseconds for 75,000 samples and grows about linearly; the first call on a machine compiles for a few
    seconds. The plan does not
    say how to keep packed samples apart in attention: training does that.

    Parameters
    ----------
    source : lengths in tokens (a flat sequence of int), or a table with the column `n_tokens`.
    max_length : the capacity of a row, in tokens (10,000,000 at most).
    strategy : one of the names above.
    batch_size : samples per batch.
    overlong : what happens to samples of more than `max_length` tokens. "truncate" cuts them, "split" makes
        consecutive pieces that each count as a sample of a batch, "drop" leaves them out. The plan counts
        them.
    seed : shuffles the order of the epoch; None keeps the order of `source`.

    Returns a `PackPlan`. Raises UserError for an unknown strategy, a parameter out of range, lengths that are
    not positive integers, a table without `n_tokens`, or a `max_length` below the shortest sample.

    >>> plan = wb.pack([4, 3, 5, 8, 6, 2], max_length=10, strategy="dynamic", batch_size=6, seed=None)
    >>> plan.rows, round(plan.padding_rate, 3)
    ([[5, 1, 0], [2], [4], [3]], 0.222)
    """
    one_of("strategy", strategy, PACKERS)
    positive("max_length", max_length, most=MOST_TOKENS)
    positive("batch_size", batch_size)
    seed = None if seed is None else seed_of(seed)
    max_length, batch_size = int(max_length), int(batch_size)
    lengths = _lengths(source)
    one_of("overlong", overlong, policy.OVERLONG)
    if overlong != "split" and len(lengths) and max_length < lengths.min():
        action = {"truncate": "truncated", "drop": "dropped"}[overlong]
        raise UserError(
            f"max_length={max_length} is shorter than every sample (the shortest has {lengths.min()} "
            f"tokens), so all would be {action}: give at least the median, {int(np.median(lengths))}."
        )
    pieces = policy.cut(lengths, max_length, overlong)
    n, packer = len(pieces.size), PACKERS[strategy]
    rng = None if seed is None else np.random.default_rng(seed)
    order = (np.arange(n) if rng is None else rng.permutation(n)).astype(np.int32)
    batch_size = min(batch_size, max(1, n))  # packers allocate by it
    rows = packer.pack(order, pieces.size, max_length, batch_size)
    if packer.whole_set:
        rows = _assign_to_batches(rows, batch_size, rng)
    return PackPlan(strategy, max_length, pieces, rows, packer.to_max)


def _assign_to_batches(rows: Rows, batch_size: int, rng: np.random.Generator | None) -> Rows:
    """Shuffle the rows and form batches of so many rows that each holds about `batch_size` samples."""
    from . import kernels

    items, bounds, n_rows = rows.items, rows.bounds, len(rows.bounds) - 1
    if rng is not None:
        items, bounds = kernels.reordered(items, bounds, rng.permutation(n_rows))
    rows_per_batch = max(1, round(batch_size * n_rows / max(1, len(items))))
    return Rows(items, bounds, np.append(np.arange(0, n_rows, rows_per_batch), n_rows))


def _lengths(source: datasets.Dataset | Sequence[int]) -> np.ndarray:
    """Return the lengths as int64 [n], or raise UserError."""
    if isinstance(source, datasets.Dataset):
        tables.require(source, ["n_tokens"], "wb.score")
        source = tables.array(source, "n_tokens")
    lengths = np.asarray(source)
    if lengths.size == 0:
        return np.zeros(0, np.int64)
    if lengths.ndim != 1 or not np.issubdtype(lengths.dtype, np.integer):
        raise UserError(
            f"lengths must be a flat list of whole numbers, not {type(source).__name__} of {lengths.dtype}."
        )
    if lengths.min() < 1:
        raise UserError(f"lengths[{int(lengths.argmin())}]={lengths.min()}; a sample has at least one token.")
    return lengths.astype(np.int64, copy=False)

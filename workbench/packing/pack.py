"""Lengths -> a plan of one epoch."""

from collections.abc import Sequence

import datasets
import numpy as np

from ..core import tables
from ..core.errors import UserError, one_of, positive
from . import overlong as policy
from .plan import PackPlan, Rows
from .registry import PACKERS


def pack(
    source: datasets.Dataset | Sequence[int],
    max_length: int = 2048,
    strategy: str = "dynamic",
    *,
    batch_size: int = 16,
    overlong: str = "truncate",
    seed: int | None = 0,
) -> PackPlan:
    """Plan one epoch over `source`: lengths in tokens, or a table with `n_tokens`.

    Rows are padded to the longest of their batch unless said otherwise:

        max       a row for each sample, padded to max_length
        pad       a row for each sample ("dynamic padding")
        dynamic   the samples of a batch packed shortest first (arXiv 2504.12687, section 4.2)
        balanced  the samples of a batch spread evenly over the number of rows that pads least
        flat      the samples of a batch in one row, however long: no padding
        bfd       best-fit decreasing over the whole set
        exact     rows filled to the token over the whole set: least padding of those with bounded rows

    A batch is `batch_size` samples in an order shuffled by `seed` (None keeps the order given), whatever the
    strategy, so training is the same; except with `bfd` and `exact`, where other samples meet in a step, a
    step sees about `batch_size` of them and the number of steps may change (`plan.samples_per_step`).

    Samples of more than `max_length` tokens are cut ("truncate"), cut into consecutive pieces, which count as
    samples of a batch each ("split"), or left out ("drop"), and counted in the plan.

    Time grows with the number of samples; the first call on a machine compiles, which takes some seconds.
    """
    one_of("strategy", strategy, PACKERS)
    positive("max_length", max_length)
    positive("batch_size", batch_size)
    lengths = _lengths(source)
    one_of("overlong", overlong, policy.OVERLONG)
    if overlong != "split" and len(lengths) and max_length < lengths.min():
        done = {"truncate": "cut", "drop": "dropped"}[overlong]
        raise UserError(
            f"max_length={max_length} is shorter than every sample (the shortest has {lengths.min()} "
            f"tokens), so all would be {done}: give at least the median, {int(np.median(lengths))}."
        )
    pieces = policy.cut(lengths, max_length, overlong)
    n, how = len(pieces.size), PACKERS[strategy]
    rng = None if seed is None else np.random.default_rng(seed)
    order = (np.arange(n) if rng is None else rng.permutation(n)).astype(np.int32)
    rows = how.pack(order, pieces.size, max_length, batch_size)
    if how.whole_set:
        rows = _dealt_out(rows, batch_size, rng)
    return PackPlan(strategy, max_length, pieces, rows, how.to_max)


def _dealt_out(rows: Rows, batch_size: int, rng: np.random.Generator | None) -> Rows:
    """The same rows in random order, as many a batch as hold about `batch_size` samples."""
    from . import kernels

    items, bounds, n_rows = rows.items, rows.bounds, len(rows.bounds) - 1
    if rng is not None:
        items, bounds = kernels.reordered(items, bounds, rng.permutation(n_rows))
    each = max(1, round(batch_size * n_rows / max(1, len(items))))
    return Rows(items, bounds, np.append(np.arange(0, n_rows, each), n_rows))


def _lengths(source: datasets.Dataset | Sequence[int]) -> np.ndarray:
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

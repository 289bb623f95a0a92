"""Lengths -> which samples share a row, and which rows share a batch. Integers only, no tensors.

Strategies, all padding a batch's rows to the longest of them unless said otherwise:

    max      a row for each sample, padded to max_length
    pad      a row for each sample ("dynamic padding")
    dynamic  the samples of a batch packed shortest first (arXiv 2504.12687, section 4.2)
    bfd      best-fit decreasing over the whole set: least padding, but samples no longer share a step
             with those they would share it with unpacked, and the number of rows a batch is fitted so
             that a step still sees about `batch_size` samples
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import datasets
import numpy as np

from . import tables
from .errors import UserError, one_of, positive

Row = list[int]  # positions of samples that share a row, in order


@dataclass(frozen=True)
class PackPlan:
    """`batches` of rows of sample positions; `lengths` are those of the samples, in tokens, as trained on."""

    strategy: str
    max_length: int
    lengths: np.ndarray  # [n] int64, cut to max_length
    batches: list[list[Row]]
    n_truncated: int

    @property
    def rows(self) -> list[Row]:
        """All rows, in the order of the batches."""
        return [row for batch in self.batches for row in batch]

    @property
    def n_rows(self) -> int:
        return sum(len(batch) for batch in self.batches)

    @property
    def n_tokens(self) -> int:
        """Tokens of all samples, padding not counted."""
        return int(self.lengths.sum())

    @cached_property
    def n_computed(self) -> int:
        """Tokens of the padded batches: what a model computes in one epoch."""
        return sum(len(batch) * self._width(batch) for batch in self.batches)

    def _width(self, batch: list[Row]) -> int:
        if self.strategy == "max":
            return self.max_length
        return max(sum(self._sizes[i] for i in row) for row in batch)

    @cached_property
    def _sizes(self) -> list[int]:
        return self.lengths.tolist()  # summing NumPy scalars one by one is ten times slower

    @property
    def padding_rate(self) -> float:
        """Padding tokens / all tokens of the padded batches (arXiv 2504.12687, section 4.2)."""
        return 1 - self.n_tokens / self.n_computed if self.n_computed else 0.0


def _alone(batch: Row, sizes: list[int], max_length: int) -> list[Row]:
    return [[i] for i in batch]


def _dynamic(batch: Row, sizes: list[int], max_length: int) -> list[Row]:
    """The samples in ascending length; a row closes when the next would overfill it."""
    rows, used = [], max_length
    for i in sorted(batch, key=sizes.__getitem__):
        if used + sizes[i] > max_length:
            rows.append([])
            used = 0
        rows[-1].append(i)
        used += sizes[i]
    return rows


def _best_fit_decreasing(order: Row, sizes: list[int], max_length: int) -> list[Row]:
    """Longest first, each into the fullest row that still takes it.

    Bit r of `gaps` says that some row has exactly r free tokens, so the fullest fitting row is one
    shift away whatever the number of rows.
    """
    rows: list[Row] = []
    with_gap: list[list[int]] = [[] for _ in range(max_length + 1)]
    gaps = 0
    for i in sorted(order, key=lambda i: -sizes[i]):
        fitting = gaps >> sizes[i]
        if fitting:
            gap = sizes[i] + (fitting & -fitting).bit_length() - 1
            row = with_gap[gap].pop()
            if not with_gap[gap]:
                gaps ^= 1 << gap
        else:
            gap, row = max_length, len(rows)
            rows.append([])
        rows[row].append(i)
        with_gap[gap - sizes[i]].append(row)
        gaps |= 1 << (gap - sizes[i])
    return rows


_WITHIN_BATCH = {"max": _alone, "pad": _alone, "dynamic": _dynamic}
STRATEGIES = (*_WITHIN_BATCH, "bfd")


def pack(
    source: datasets.Dataset | Sequence[int],
    max_length: int = 2048,
    strategy: str = "dynamic",
    *,
    batch_size: int = 16,
    seed: int | None = 0,
) -> PackPlan:
    """Plan one epoch over `source`: lengths in tokens, or a table with `n_tokens`.

    Batches are drawn in an order shuffled by `seed` (None keeps the order given). Samples of more than
    `max_length` tokens count as cut to it.
    """
    one_of("strategy", strategy, STRATEGIES)
    positive("max_length", max_length)
    positive("batch_size", batch_size)
    lengths = _lengths(source)
    if len(lengths) and max_length < lengths.min():
        raise UserError(
            f"max_length={max_length} is shorter than every sample (the shortest has {lengths.min()} "
            f"tokens), so all would be cut: give at least the median, {int(np.median(lengths))}."
        )
    cut = np.minimum(lengths, max_length)
    rng = np.random.default_rng(seed)
    order = list(range(len(cut))) if seed is None else rng.permutation(len(cut)).tolist()
    if strategy == "bfd":
        rows = _best_fit_decreasing(order, cut.tolist(), max_length)
        if seed is not None:
            rng.shuffle(rows)
        batches = _split(rows, max(1, round(batch_size * len(rows) / max(1, len(cut)))))
    else:
        pack_batch, sizes = _WITHIN_BATCH[strategy], cut.tolist()
        batches = [pack_batch(batch, sizes, max_length) for batch in _split(order, batch_size)]
    return PackPlan(strategy, max_length, cut, batches, int((lengths > max_length).sum()))


def _split(items: list, size: int) -> list[list]:
    return [items[at : at + size] for at in range(0, len(items), size)]


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
    return lengths.astype(np.int64)

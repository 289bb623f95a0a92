"""What packing returns: which samples share a row, and which rows a batch."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from .overlong import Pieces

Row = list[int]  # positions of samples that share a row, in order


@dataclass(frozen=True)
class Rows:
    """Rows and batches as arrays: row r is `items[bounds[r]:bounds[r + 1]]`, batch b the rows from
    `batches[b]` to `batches[b + 1]`. Items are positions of pieces."""

    items: np.ndarray
    bounds: np.ndarray
    batches: np.ndarray


@dataclass(frozen=True)
class PackPlan:
    """One epoch. `rows` and `batches` are lists of sample positions, built when asked; `layout` and `pieces`
    hold the same as arrays.

    `samples_per_step` [n_batches] is how many samples a forward pass sees, which is an optimizer step without
    accumulation. It is `batch_size` except in the last one, and as unpacked training has it, for the
    strategies that pack inside a batch (max, pad, dynamic, balanced, flat), which therefore train alike.
    `bfd` and `exact` pack over the whole set: it varies, as do the samples that meet in a step, and the
    number of steps may change.
    """

    strategy: str
    max_length: int
    pieces: Pieces
    layout: Rows
    to_max: bool  # rows are padded to max_length, not to the longest of the batch

    @property
    def lengths(self) -> np.ndarray:
        """[n] tokens of each sample as trained on: cut, 0 if dropped, the sum of its pieces if split."""
        return self.pieces.per_sample

    @cached_property
    def rows(self) -> list[Row]:
        """All rows, in the order of the batches. A sample that is split appears once for each piece."""
        return _cut(self.pieces.sample[self.layout.items].tolist(), self.layout.bounds)

    @cached_property
    def batches(self) -> list[list[Row]]:
        return _cut(self.rows, self.layout.batches)

    @property
    def n_rows(self) -> int:
        return len(self.layout.bounds) - 1

    @property
    def n_tokens(self) -> int:
        """Tokens of all samples, padding not counted."""
        return int(self.pieces.size.sum(dtype=np.int64))

    @cached_property
    def n_computed(self) -> int:
        """Tokens of the padded batches: what a model computes in one epoch."""
        if self.to_max:
            return self.n_rows * self.max_length
        longest = _reduce(np.maximum, self.row_tokens, self.layout.batches)
        return int(longest @ np.diff(self.layout.batches))

    @cached_property
    def row_tokens(self) -> np.ndarray:
        """[n_rows] tokens in each row, padding not counted."""
        return _reduce(np.add, self.pieces.size[self.layout.items].astype(np.int64), self.layout.bounds)

    @property
    def padding_rate(self) -> float:
        """Padding tokens / all tokens of the padded batches (arXiv 2504.12687, section 4.2)."""
        return 1 - self.n_tokens / self.n_computed if self.n_computed else 0.0

    @property
    def samples_per_step(self) -> np.ndarray:
        return np.diff(self.layout.bounds[self.layout.batches])

    @property
    def n_truncated(self) -> int:
        return self.pieces.n_overlong if self.pieces.overlong == "truncate" else 0

    @property
    def n_split(self) -> int:
        return self.pieces.n_overlong if self.pieces.overlong == "split" else 0

    @property
    def n_dropped(self) -> int:
        return self.pieces.n_overlong if self.pieces.overlong == "drop" else 0

    def __repr__(self) -> str:
        told = f"{len(self.lengths):,} samples in {self.n_rows:,} rows, {self.padding_rate:.2%} padding"
        steps = self.samples_per_step
        if len(steps):
            fewest, most = steps.min(), steps.max()
            each = f"{most}" if fewest == most else f"{fewest} to {most}"
            told += f", {len(steps):,} batches of {each} samples"
        if self.pieces.n_overlong:
            told += f"; {self.pieces}"
        return f"<PackPlan {self.strategy}: {told}>"


def _cut(items: list, bounds: np.ndarray) -> list[list]:
    return [items[start:stop] for start, stop in pairwise(bounds.tolist())]


def _reduce(how: np.ufunc, values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """`how` over each stretch of `values`; none is empty."""
    return how.reduceat(values, bounds[:-1]) if len(values) else values

"""`PackPlan`, the result of `pack`: which samples share a row, and which rows share a batch."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from .overlong import Pieces

Row = list[int]  # the positions of the samples in one row, in order


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows and batches as int arrays.

    Row r holds `items[bounds[r]:bounds[r + 1]]`, and batch b the rows `batches[b]` to `batches[b + 1] - 1`.
    Items are positions in `Pieces`. Shapes: items [n_items], bounds [n_rows + 1], batches [n_batches + 1].
    """

    items: np.ndarray
    bounds: np.ndarray
    batches: np.ndarray


@dataclass(frozen=True, eq=False)
class PackPlan:
    """The plan of one epoch, as returned by `wb.pack`.

    `rows` and `batches` are lists of sample positions, built on first access; `layout` and `pieces` hold the
    same as arrays. Printing a plan shows its padding rate, its batches and its overlong samples.
    """

    strategy: str
    max_length: int
    pieces: Pieces
    layout: Rows
    to_max: bool  # pads rows to max_length instead of the longest row of their batch

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sample that are trained on, int64 [n].

        0 for a dropped sample; the sum of its pieces for a split one, whose overlaps count twice.
        """
        return self.pieces.per_sample

    @cached_property
    def rows(self) -> list[Row]:
        """All rows, in the order of the batches. A split sample appears once per piece."""
        return _cut(self.pieces.sample[self.layout.items].tolist(), self.layout.bounds)

    @cached_property
    def batches(self) -> list[list[Row]]:
        """The rows of each batch."""
        return _cut(self.rows, self.layout.batches)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.layout.bounds) - 1

    @property
    def n_tokens(self) -> int:
        """Tokens of all pieces, without padding."""
        return int(self.pieces.size.sum(dtype=np.int64))

    @cached_property
    def n_computed(self) -> int:
        """Tokens of the padded batches, which a model computes in one epoch."""
        if self.to_max:
            return self.n_rows * self.max_length
        longest = _reduce(np.maximum, self.row_tokens, self.layout.batches)
        return int(longest @ np.diff(self.layout.batches))

    @cached_property
    def row_tokens(self) -> np.ndarray:
        """Tokens in each row without padding, int64 [n_rows]."""
        return _reduce(np.add, self.pieces.size[self.layout.items].astype(np.int64), self.layout.bounds)

    @property
    def padding_rate(self) -> float:
        """Share of padding in all computed tokens, 1 - n_tokens / n_computed, from 0 to below 1.

        It is the padding rate of arXiv 2504.12687, section 4.2.
        """
        return 1 - self.n_tokens / self.n_computed if self.n_computed else 0.0

    @property
    def samples_per_step(self) -> np.ndarray:
        """Samples in each forward pass, int64 [n_batches]; an optimizer step if gradients do not accumulate.

        With "max", "pad", "dynamic", "balanced" and "flat" it is `batch_size`, as in unpacked training, but
        for the last batch. With "bfd" and "exact" it varies.
        """
        return np.diff(self.layout.bounds[self.layout.batches])

    @property
    def n_truncated(self) -> int:
        """Number of samples cut to `max_length`."""
        return self.pieces.n_overlong if self.pieces.overlong == "truncate" else 0

    @property
    def n_split(self) -> int:
        """Number of samples split into pieces."""
        return self.pieces.n_overlong if self.pieces.overlong == "split" else 0

    @property
    def n_dropped(self) -> int:
        """Number of samples left out because of their length."""
        return self.pieces.n_overlong if self.pieces.overlong == "drop" else 0

    def __repr__(self) -> str:
        summary = f"{len(self.lengths):,} samples in {self.n_rows:,} rows, {self.padding_rate:.2%} padding"
        steps = self.samples_per_step
        if len(steps):
            low, high = steps.min(), steps.max()
            size = f"{high}" if low == high else f"{low} to {high}"
            summary += f", {len(steps):,} batches of {size} samples"
        if self.pieces.n_overlong:
            summary += f"; {self.pieces}"
        return f"<PackPlan {self.strategy}: {summary}>"


def _cut(items: list, bounds: np.ndarray) -> list[list]:
    """Split `items` at `bounds`."""
    return [items[start:stop] for start, stop in pairwise(bounds.tolist())]


def _reduce(ufunc: np.ufunc, values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Reduce each segment of `values` between two `bounds`. No segment may be empty."""
    return ufunc.reduceat(values, bounds[:-1]) if len(values) else values

"""Samples of more than max_length tokens: cut, split into consecutive pieces, or left out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..core.errors import UserError, one_of

OVERLONG = ("truncate", "split", "drop")
_INT = np.int32  # half the memory to move, for millions of samples


@dataclass(frozen=True)
class Pieces:
    """What is trained of the samples: piece j is `size[j]` tokens of `sample[j]` from token `start[j]` on.

    Ordered by sample. Without "split" no sample has more than one.
    """

    sample: np.ndarray
    start: np.ndarray
    size: np.ndarray
    n_samples: int
    overlong: str
    n_overlong: int
    n_lost: int  # tokens that are not trained on

    @cached_property
    def per_sample(self) -> np.ndarray:
        """[n_samples] tokens of all pieces of each sample."""
        return np.bincount(self.sample, self.size, self.n_samples).astype(np.int64)

    def __str__(self) -> str:
        done = {"truncate": "truncated", "split": "split", "drop": "dropped"}[self.overlong]
        lost = f", {self.n_lost:,} tokens lost" if self.n_lost else ""
        return f"{self.n_overlong:,} overlong samples {done}{lost}"


def cut(lengths: np.ndarray, max_length: int, overlong: str = "truncate") -> Pieces:
    """The pieces of samples of `lengths` tokens, none above `max_length`.

    A piece begins with the last token of the one before it, so that its first new token, too, is predicted
    from something: every token of a split sample is predicted just as often as unsplit, once.
    """
    one_of("overlong", overlong, OVERLONG)
    check(max_length, overlong)
    n, over = len(lengths), lengths > max_length
    n_over = int(np.count_nonzero(over))
    sample, size = np.arange(n, dtype=_INT), np.minimum(lengths, max_length).astype(_INT)
    if n_over and overlong == "split":
        n_pieces = 1 + np.where(over, -(-(lengths - max_length) // (max_length - 1)), 0)
        sample = np.repeat(sample, n_pieces)
        nth = np.arange(len(sample)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
        start = nth * (max_length - 1)
        size = np.minimum(lengths[sample] - start, max_length).astype(_INT)
        return Pieces(sample, start, size, n, overlong, n_over, 0)
    if n_over and overlong == "drop":
        sample, size = sample[~over], size[~over]
    lost = int(lengths[over].sum() - (n_over * max_length if overlong == "truncate" else 0))
    return Pieces(sample, np.zeros(len(sample), np.int64), size, n, overlong, n_over, lost)


def check(max_length: int, overlong: str) -> None:
    """Raise where pieces could not go on."""
    if overlong == "split" and max_length < 2:
        raise UserError(f"max_length={max_length} cannot hold a piece that goes on; give at least 2.")

"""Samples of more than `max_length` tokens: truncate them, split them into pieces, or drop them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..core.errors import UserError, one_of

OVERLONG = ("truncate", "split", "drop")
_INT = np.int32  # half the memory traffic of int64, for millions of samples


@dataclass(frozen=True, eq=False)
class Pieces:
    """The parts of the samples that are trained on, ordered by sample.

    Piece j holds `size[j]` tokens of sample `sample[j]`, starting at token `start[j]`; all three are int
    arrays [n_pieces]. Only "split" makes several pieces of one sample. `n_overlong` is the number of samples
    of more than `max_length` tokens, and `n_lost` the number of tokens that are not trained on.
    """

    sample: np.ndarray
    start: np.ndarray
    size: np.ndarray
    n_samples: int
    overlong: str
    n_overlong: int
    n_lost: int

    @cached_property
    def per_sample(self) -> np.ndarray:
        """Tokens of all pieces of each sample, int64 [n_samples]."""
        return np.bincount(self.sample, self.size, self.n_samples).astype(np.int64)

    def __str__(self) -> str:
        action = {"truncate": "truncated", "split": "split", "drop": "dropped"}[self.overlong]
        lost = f", {self.n_lost:,} tokens lost" if self.n_lost else ""
        return f"{self.n_overlong:,} overlong samples {action}{lost}"


def cut(lengths: np.ndarray, max_length: int, overlong: str = "truncate") -> Pieces:
    """Return pieces of at most `max_length` tokens for samples of `lengths` tokens, int [n].

    With "split", each piece starts with the last token of the piece before it, so that its first new token
    also has a predecessor. Every token is therefore predicted exactly as often as in the unsplit sample.
    Raises UserError if `overlong` is unknown, or if it is "split" and `max_length` is 1.
    """
    one_of("overlong", overlong, OVERLONG)
    check(max_length, overlong)
    n, is_overlong = len(lengths), lengths > max_length
    n_overlong = int(np.count_nonzero(is_overlong))
    sample, size = np.arange(n, dtype=_INT), np.minimum(lengths, max_length).astype(_INT)
    if n_overlong and overlong == "split":
        n_pieces = 1 + np.where(is_overlong, -(-(lengths - max_length) // (max_length - 1)), 0)
        sample = np.repeat(sample, n_pieces)
        nth = np.arange(len(sample)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
        start = nth * (max_length - 1)
        size = np.minimum(lengths[sample] - start, max_length).astype(_INT)
        return Pieces(sample, start, size, n, overlong, n_overlong, 0)
    if n_overlong and overlong == "drop":
        sample, size = sample[~is_overlong], size[~is_overlong]
    n_lost = int(lengths[is_overlong].sum() - (n_overlong * max_length if overlong == "truncate" else 0))
    return Pieces(sample, np.zeros(len(sample), np.int64), size, n, overlong, n_overlong, n_lost)


def check(max_length: int, overlong: str) -> None:
    """Raise UserError if pieces of `max_length` tokens are too short to split a sample."""
    if overlong == "split" and max_length < 2:
        raise UserError(f"overlong='split' needs max_length of at least 2, not {max_length}.")

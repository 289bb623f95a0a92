"""The hardest rows that say something new, in the style of DEITA (Liu et al., 2024)."""

import numpy as np

from .by_score import hardest
from .columns import Candidates
from .registry import strategy

NOVELTY = 0.9  # cosine similarity to the nearest kept row from which on a row is a repetition
_CHUNK = 512


@strategy(
    "deita",
    needs=("ifd", "embedding"),
    pool="eligible",
    reason="IFD {ifd:.4f} is below the cut, or the row is too near a harder kept one",
)
def deita(candidates: Candidates, n: int, rng) -> np.ndarray:
    """By IFD, highest first, a row is kept unless a kept one has a cosine similarity of 0.9 or more to it.

    Fewer than `n` rows where so many repeat others. O(kept * scanned * d).
    """
    order = hardest(candidates.ifd, np.flatnonzero(candidates.eligible))
    vectors = candidates.embedding
    kept: list[int] = []
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        rows = rows[~_near(vectors, rows, kept)]
        among = vectors[rows] @ vectors[rows].T >= NOVELTY
        new: list[int] = []  # places in `rows`
        for i in range(len(rows)):
            if len(kept) + len(new) == n:
                break
            if not among[i, new].any():
                new.append(i)
        kept += rows[new].tolist()
        if len(kept) == n:
            break
    return np.array(kept, np.int64)


def _near(vectors: np.ndarray, rows: np.ndarray, kept: list[int]) -> np.ndarray:
    """[r] bool: a kept row is NOVELTY near or nearer."""
    near = np.zeros(len(rows), bool)
    for start in range(0, len(kept), 16 * _CHUNK):
        some = kept[start : start + 16 * _CHUNK]
        near |= (vectors[rows] @ vectors[some].T >= NOVELTY).any(axis=1)
    return near

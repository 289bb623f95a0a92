"""Strategies by embedding: skip near-repeats of kept rows, or cover the whole space."""

import numpy as np

from ..candidates import Candidates
from ..registry import strategy
from .ifd import hardest

NOVELTY = 0.9  # cosine similarity to a kept row from which "deita" skips a row
_CHUNK = 512  # rows compared with each other at once

_REFERENCES = 25_000  # most rows on which facility location measures its value
_MISS = 0.1  # stochastic greedy reaches 1 - 1/e - 0.1 of the best value, in expectation
_MOST_DRAWN = 1000  # most rows drawn for one greedy step
_AT_ONCE = 256  # rows whose similarities are one matrix product


@strategy(
    "deita",
    needs=("ifd", "embedding"),
    pool="eligible",
    reason="{score} is below the cut, or the row is too similar to a harder kept one",
    settings=("by",),
)
def deita(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """By IFD, highest first, skipping rows with a cosine similarity of 0.9 or more to a kept row.

    In the style of DEITA (Liu et al., 2024). Fewer than `n` rows if too many repeat others.
    O(kept * scanned * d).
    """
    order = hardest(candidates.score, np.flatnonzero(candidates.eligible))
    vectors = candidates.embedding
    kept: list[int] = []
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        rows = rows[~_near(vectors, rows, kept)]
        near_each_other = vectors[rows] @ vectors[rows].T >= NOVELTY
        new: list[int] = []  # positions in `rows`
        for i in range(len(rows)):
            if len(kept) + len(new) == n:
                break
            if not near_each_other[i, new].any():
                new.append(i)
        kept += rows[new].tolist()
        if len(kept) == n:
            break
    return np.array(kept, np.int64)


def _near(vectors: np.ndarray, rows: np.ndarray, kept: list[int]) -> np.ndarray:
    """bool [r]: the row has a similarity of NOVELTY or more to one of `kept`."""
    near = np.zeros(len(rows), bool)
    for start in range(0, len(kept), 16 * _CHUNK):
        chunk = kept[start : start + 16 * _CHUNK]
        near |= (vectors[rows] @ vectors[chunk].T >= NOVELTY).any(axis=1)
    return near


@strategy("k-center", needs=("embedding",))
def k_center(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Greedy k-center (Gonzalez, 1985): a random row, then always the row farthest from those chosen.

    Covers every region, within twice the smallest possible radius; drawn to outliers. O(n * rows * d).
    """
    vectors = candidates.embedding
    chosen = np.empty(min(n, len(candidates)), np.int64)
    similarity = np.full(len(candidates), -np.inf, np.float32)  # to the nearest chosen row
    row = int(rng.integers(len(candidates))) if len(candidates) else 0
    for i in range(len(chosen)):
        chosen[i] = row
        np.maximum(similarity, vectors @ vectors[row], out=similarity)
        similarity[row] = np.inf  # rules the row out, also among identical rows
        row = int(np.argmin(similarity))
    return chosen


@strategy("facility-location", needs=("embedding",))
def facility_location(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows that maximize the summed similarity of every row to its nearest chosen row.

    Stochastic greedy (Mirzasoleiman et al., 2015): each step takes the best of a random sample of the open
    rows, large enough for 1 - 1/e - 0.1 of the best value in expectation, and at most 1,000. The value is
    measured on all rows, or on a seeded sample of 25,000 of them. O(2.3 * rows * references * d) for any `n`.
    """
    vectors, total = candidates.embedding, len(candidates)
    n = min(n, total)
    if not n:
        return np.zeros(0, np.int64)
    references = vectors[np.sort(rng.choice(total, min(total, _REFERENCES), replace=False))]
    best = np.full(len(references), -1.0, np.float32)  # the lowest cosine similarity
    sample_size = min(int(np.ceil(total / n * np.log(1 / _MISS))), _MOST_DRAWN)
    is_open = np.ones(total, bool)
    chosen: list[int] = []
    while len(chosen) < n:
        open_rows = np.flatnonzero(is_open)
        steps = min(max(1, _AT_ONCE // sample_size), n - len(chosen))
        all_drawn = sample_size >= len(open_rows)
        samples = np.tile(open_rows, (steps, 1)) if all_drawn else rng.choice(open_rows, (steps, sample_size))
        similarity = vectors[samples.ravel()] @ references.T
        for step, sample in enumerate(samples):
            block = similarity[step * len(sample) : (step + 1) * len(sample)]
            gain = np.maximum(block - best, 0).sum(axis=1)
            gain[~is_open[sample]] = -1.0  # chosen in an earlier step of this batch
            winner = int(np.argmax(gain))
            if gain[winner] < 0:
                continue
            np.maximum(best, block[winner], out=best)
            is_open[sample[winner]] = False
            chosen.append(int(sample[winner]))
    return np.array(chosen, np.int64)

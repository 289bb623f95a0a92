"""Strategies that cover the embedding space, whatever the scores."""

import numpy as np

from .columns import Candidates
from .registry import strategy

_REFERENCES = 25_000  # rows on which facility location is valued; all of them up to so many
_MISS = 0.1  # stochastic greedy reaches 1 - 1/e - 0.1 of the best value, in expectation
_MOST_DRAWN = 1000  # rows for one greedy step, where few are asked for out of many
_AT_ONCE = 256  # rows whose similarities are one matrix product


@strategy("k-center", needs=("embedding",))
def k_center(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Each row the farthest from those before it, the first at random (Gonzalez, 1985): no region is missed.

    At most twice the smallest coverage radius; drawn to outliers. O(n * rows * d).
    """
    vectors = candidates.embedding
    chosen = np.empty(min(n, len(candidates)), np.int64)
    nearest = np.full(len(candidates), -np.inf, np.float32)  # similarity to the chosen
    row = int(rng.integers(len(candidates))) if len(candidates) else 0
    for i in range(len(chosen)):
        chosen[i] = row
        np.maximum(nearest, vectors @ vectors[row], out=nearest)
        nearest[row] = np.inf  # never again, also among rows equal to it
        row = int(np.argmin(nearest))
    return chosen


@strategy("facility-location", needs=("embedding",))
def facility_location(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows that together are most similar to all rows: each row counts by its nearest chosen one.

    Stochastic greedy (Mirzasoleiman et al., 2015): each step takes the best of a random few of the open rows,
    enough for 1 - 1/e - 0.1 of the best value in expectation, and at most 1,000. The value is that on 25,000
    seeded reference rows, or on all where there are no more. O(2.3 * rows * references * d), whatever `n`.
    """
    vectors, total = candidates.embedding, len(candidates)
    n = min(n, total)
    if not n:
        return np.zeros(0, np.int64)
    references = vectors[np.sort(rng.choice(total, min(total, _REFERENCES), replace=False))]
    best = np.full(len(references), -1.0, np.float32)  # the least similarity there is
    few = min(int(np.ceil(total / n * np.log(1 / _MISS))), _MOST_DRAWN)
    is_open = np.ones(total, bool)
    chosen: list[int] = []
    while len(chosen) < n:
        open_rows = np.flatnonzero(is_open)
        steps = min(max(1, _AT_ONCE // few), n - len(chosen))
        all_drawn = few >= len(open_rows)
        draws = np.tile(open_rows, (steps, 1)) if all_drawn else rng.choice(open_rows, (steps, few))
        similar = vectors[draws.ravel()] @ references.T
        for step, draw in enumerate(draws):
            block = similar[step * len(draw) : (step + 1) * len(draw)]
            gain = np.maximum(block - best, 0).sum(axis=1)
            gain[~is_open[draw]] = -1.0  # chosen since it was drawn
            taken = int(np.argmax(gain))
            if gain[taken] < 0:
                continue
            np.maximum(best, block[taken], out=best)
            is_open[draw[taken]] = False
            chosen.append(int(draw[taken]))
    return np.array(chosen, np.int64)

"""Centres that learn the distribution of the rows and keep apart, each exchanged for a real row.

The idea is that of ActiveFT (Xie et al., 2023), which the paper's authors took up in their follow-up: `n`
centres move so that rows lie near a centre (the same distribution) while centres repel each other (so that
they are diverse).
Here both moves have a closed form, so that no gradient is taken: a centre goes to the mean of the rows that
are nearest to it, less a share of the centres that crowd it.
"""

import numpy as np

from .columns import Candidates
from .registry import strategy

_ROUNDS = 3
_REPULSION = 0.1  # weight of the crowding centres against the rows' mean
_TEMPERATURE = 0.07  # how fast crowding fades with distance
_MATCHES = 8  # passes in which centres look for their nearest unused row
_CHUNK = 2048


@strategy("parametric", needs=("embedding",))
def parametric(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows distributed as all rows are, and diverse; no score is looked at. O(4 * n * rows * d)."""
    vectors = candidates.embedding
    n = min(n, len(candidates))
    if not n:
        return np.zeros(0, np.int64)
    centres = vectors[rng.choice(len(vectors), n, replace=False)]
    for _ in range(_ROUNDS):
        centres = _apart(_means(vectors, centres))
    return _match(vectors, centres, rng)


def _means(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The unit mean of the rows nearest to each centre; a centre without any stays."""
    sums = np.zeros_like(centres)
    for start in range(0, len(vectors), _CHUNK):
        some = vectors[start : start + _CHUNK]
        nearest = np.argmax(some @ centres.T, axis=1)
        np.add.at(sums, nearest, some)
    return _unit(sums, centres)


def _apart(centres: np.ndarray) -> np.ndarray:
    """Each centre, less the others weighted by the softmax of their similarity to it."""
    moved = np.empty_like(centres)
    for start in range(0, len(centres), _CHUNK):
        own = np.arange(start, min(start + _CHUNK, len(centres)))
        weight = np.exp((centres[own] @ centres.T - 1) / np.float32(_TEMPERATURE))
        weight[np.arange(len(own)), own] = 0
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.float32(1e-12))
        moved[own] = centres[own] - np.float32(_REPULSION) * (weight @ centres)
    return _unit(moved, centres)


def _unit(vectors: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """`vectors` of unit length; `otherwise` where they have none."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-6, vectors / np.maximum(length, 1e-6), otherwise)


def _match(vectors: np.ndarray, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A row for each centre: its nearest unused one, contested rows to the nearest centre.

    Centres left after eight passes, as among many equal rows, take unused rows at random.
    """
    unused, chosen, waiting = np.ones(len(vectors), bool), [], np.arange(len(centres))
    for _ in range(_MATCHES):
        if not len(waiting):
            break
        row, similarity = _nearest(vectors, np.flatnonzero(unused), centres[waiting])
        by_nearness = np.argsort(-similarity, kind="stable")
        taken, first = np.unique(row[by_nearness], return_index=True)
        chosen.append(taken)
        unused[taken] = False
        waiting = np.delete(waiting, by_nearness[first])
    rest = rng.choice(np.flatnonzero(unused), len(waiting), replace=False)
    return np.concatenate([*chosen, rest]).astype(np.int64)


def _nearest(vectors: np.ndarray, rows: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each centre the nearest of `rows` and its similarity."""
    best, at = np.full(len(centres), -np.inf, np.float32), np.zeros(len(centres), np.int64)
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        similar = centres @ vectors[some].T
        place = np.argmax(similar, axis=1)
        value = similar[np.arange(len(centres)), place]
        better = value > best
        best[better], at[better] = value[better], some[place[better]]
    return at, best

"""Strategy "parametric": centres learn the distribution of the rows and repel each other, then become rows.

The idea is that of ActiveFT (Xie et al., 2023), which the paper's authors use in their follow-up: `n` centres
move so that every row is near one (same distribution) while they repel each other (diversity). Here both
moves have a closed form and need no gradient: a centre moves to the mean of the rows nearest to it, minus a
share of the centres that crowd it.
"""

import numpy as np

from ..candidates import Candidates
from ..registry import strategy

_ROUNDS = 3
_REPULSION = 0.1  # weight of the crowding centres relative to the rows' mean
_TEMPERATURE = 0.07  # of the softmax over similarities: crowding fades with distance
_MATCHES = 8  # passes in which centres claim their nearest unused row
_CHUNK = 2048


@strategy("parametric", needs=("embedding",))
def parametric(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Diverse rows with the distribution of all rows; ignores scores. O(4 * n * rows * d)."""
    vectors = candidates.embedding
    n = min(n, len(candidates))
    if not n:
        return np.zeros(0, np.int64)
    centres = vectors[rng.choice(len(vectors), n, replace=False)]
    for _ in range(_ROUNDS):
        centres = _apart(_means(vectors, centres))
    return _match(vectors, centres, rng)


def _means(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Unit mean of the rows nearest to each centre, [n, d]; a centre without rows stays."""
    sums = np.zeros_like(centres)
    for start in range(0, len(vectors), _CHUNK):
        chunk = vectors[start : start + _CHUNK]
        nearest = np.argmax(chunk @ centres.T, axis=1)
        np.add.at(sums, nearest, chunk)
    return _unit(sums, centres)


def _apart(centres: np.ndarray) -> np.ndarray:
    """Each centre minus the others, weighted by the softmax of their similarity to it, [n, d]."""
    moved = np.empty_like(centres)
    for start in range(0, len(centres), _CHUNK):
        own = np.arange(start, min(start + _CHUNK, len(centres)))
        weight = np.exp((centres[own] @ centres.T - 1) / np.float32(_TEMPERATURE))
        weight[np.arange(len(own)), own] = 0
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.float32(1e-12))
        moved[own] = centres[own] - np.float32(_REPULSION) * (weight @ centres)
    return _unit(moved, centres)


def _unit(vectors: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """`vectors` scaled to unit length; the row of `fallback` where a vector has almost no length."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-6, vectors / np.maximum(length, 1e-6), fallback)


def _match(vectors: np.ndarray, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One row per centre, int64 [n]: its nearest unused row; a contested row goes to the nearest centre.

    Centres without a row after eight passes, e.g. among many identical rows, take unused rows at random.
    """
    unused, chosen, waiting = np.ones(len(vectors), bool), [], np.arange(len(centres))
    for _ in range(_MATCHES):
        if not len(waiting):
            break
        row, similarity = _nearest(vectors, np.flatnonzero(unused), centres[waiting])
        by_nearness = np.argsort(-similarity, kind="stable")
        claimed, first = np.unique(row[by_nearness], return_index=True)
        chosen.append(claimed)
        unused[claimed] = False
        waiting = np.delete(waiting, by_nearness[first])
    rest = rng.choice(np.flatnonzero(unused), len(waiting), replace=False)
    return np.concatenate([*chosen, rest]).astype(np.int64)


def _nearest(vectors: np.ndarray, rows: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each centre the nearest of `rows` and its cosine similarity."""
    best, nearest = np.full(len(centres), -np.inf, np.float32), np.zeros(len(centres), np.int64)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        similarity = centres @ vectors[chunk].T
        position = np.argmax(similarity, axis=1)
        highest = similarity[np.arange(len(centres)), position]
        better = highest > best
        best[better], nearest[better] = highest[better], chunk[position[better]]
    return nearest, best

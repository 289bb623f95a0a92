"""How far a row is from the nearest kept one, and whether kept rows repeat each other.

What is far from everything kept is a kind of task that the model never sees in training; the coverage radius
is the k-center objective (Sener and Savarese, 2018). Two kept rows that say nearly the same are one row paid
for twice. Distances are cosine distances, 1 - cos, of the embeddings: 0 for equal directions, at most 2.
"""

import numpy as np

QUANTILES = (0.5, 0.9, 0.99)
NEAR_DUPLICATE = 0.95  # cosine similarity from which on two instructions are near-duplicates


def distances(nearest_other: np.ndarray, is_kept: np.ndarray) -> np.ndarray:
    """[m] distance of each anchor to the nearest kept row; 0 where it is kept itself.

    nearest_other [m]: its similarity to the nearest kept row but itself; is_kept [m] bool.
    """
    return np.where(is_kept, 0.0, np.maximum(0.0, 1.0 - nearest_other.astype(float)))


def near_duplicates(nearest_other: np.ndarray, is_kept: np.ndarray) -> float | None:
    """Share of the kept anchors with another kept row at NEAR_DUPLICATE or nearer; null for none kept."""
    return float((nearest_other[is_kept] >= NEAR_DUPLICATE).mean()) if is_kept.any() else None


def similarities(vectors: np.ndarray, rows: np.ndarray, anchors: np.ndarray, at: np.ndarray) -> np.ndarray:
    """[r, m] cosine similarity of `vectors[rows]`, of [n, d] and [r], to the anchors; -inf to itself.

    anchors [m, d] float32 are the rows `at` [m], ascending.
    """
    found = vectors[rows] @ anchors.T
    place = np.minimum(np.searchsorted(at, rows), len(at) - 1)
    itself = np.flatnonzero(at[place] == rows)
    found[itself, place[itself]] = -np.inf
    return found

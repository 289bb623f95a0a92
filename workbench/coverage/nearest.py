"""Distances of rows to the nearest kept row, and near-duplicates among the kept rows.

A row far from all kept rows belongs to a kind of task that the model does not see in training. The largest
such distance, the coverage radius, is the k-center objective (Sener and Savarese, 2018). Two kept rows that
are nearly the same cost training twice for one task.

Distances are cosine distances, 1 - cos, of the embeddings: 0 for equal directions, at most 2.
"""

import numpy as np

QUANTILES = (0.5, 0.9, 0.99)
NEAR_DUPLICATE = 0.95  # cosine similarity from which on two instructions are near-duplicates


def distances(nearest_other: np.ndarray, is_kept: np.ndarray) -> np.ndarray:
    """Return the cosine distance of each anchor to the nearest kept row, float64 [m]; 0 for a kept anchor.

    `nearest_other`, float32 [m], is each anchor's similarity to the nearest kept row other than itself, and
    `is_kept` is bool [m].
    """
    return np.where(is_kept, 0.0, np.maximum(0.0, 1.0 - nearest_other.astype(float)))


def near_duplicates(nearest_other: np.ndarray, is_kept: np.ndarray) -> float | None:
    """Return the share (0 to 1) of the kept anchors that have another kept row at NEAR_DUPLICATE or above.

    None if no anchor is kept. The arguments are those of `distances`.
    """
    return float((nearest_other[is_kept] >= NEAR_DUPLICATE).mean()) if is_kept.any() else None


def similarities(
    vectors: np.ndarray, rows: np.ndarray, anchors: np.ndarray, anchor_rows: np.ndarray
) -> np.ndarray:
    """Return the cosine similarity of `vectors[rows]` to the anchors, float32 [r, m]; -inf to the row itself.

    `vectors` is float32 [n, d], `rows` int [r], and `anchors`, float32 [m, d], are the vectors of
    `anchor_rows`, int [m], in ascending order.
    """
    similarity = vectors[rows] @ anchors.T
    position = np.minimum(np.searchsorted(anchor_rows, rows), len(anchor_rows) - 1)
    itself = np.flatnonzero(anchor_rows[position] == rows)
    similarity[itself, position[itself]] = -np.inf
    return similarity

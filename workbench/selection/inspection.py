"""One row in the light of a selection: kept or not, why, and its place among the others."""

from dataclasses import dataclass

import numpy as np

from .by_score import hardest
from .result import Selection


@dataclass(frozen=True)
class About:
    """`reason`: why `row` is dropped, null where it is kept.

    `rank` is its place by IFD, highest first and from 1 on, among the `ranked` eligible rows of its cluster
    (of all rows where there are no clusters); null for a row that is not eligible. `nearest` are the kept
    rows most like it, the most alike first, each with its cosine similarity; empty without embeddings.
    """

    row: int
    reason: str | None
    cluster: int | None
    rank: int | None
    ranked: int
    nearest: list[tuple[int, float]]


def about(selection: Selection, row: int, n_nearest: int = 5) -> About:
    """What `selection` makes of `row`, a number from 0 on. O(kept * d)."""
    candidates = selection.candidates
    label = candidates.cluster[row]
    order = hardest(candidates.ifd, np.flatnonzero(candidates.eligible & (candidates.cluster == label)))
    place = np.flatnonzero(order == row)
    return About(
        row=row,
        reason=None if selection.mask[row] else selection.reason(row),
        cluster=int(label) if "cluster" in selection.source.column_names else None,
        rank=int(place[0]) + 1 if len(place) else None,
        ranked=len(order),
        nearest=_nearest(selection, row, n_nearest),
    )


def _nearest(selection: Selection, row: int, n: int) -> list[tuple[int, float]]:
    vectors, kept = selection.candidates.embedding, selection.indices
    if vectors is None:
        return []
    kept = kept[kept != row]
    similar = vectors[kept] @ vectors[row]
    first = np.argsort(-similar, kind="stable")[:n]
    return [(int(kept[at]), float(similar[at])) for at in first]

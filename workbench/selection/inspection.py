"""A selection in detail: the score at which it cuts, and one row's rank, reason and neighbours."""

from dataclasses import dataclass

import numpy as np

from .selection import Selection
from .strategies.bands import in_band
from .strategies.ifd import by_cluster, hardest


def ifd_cut(selection: Selection) -> tuple[float, float] | None:
    """The lowest and highest score (IFD unless `by` names another column) at which a cluster is cut.

    They are equal if one cut holds for all rows.

    None if the kept rows are not those above a cut: nothing is kept, or the strategy ranks by something else.
    """
    candidates, mask = selection.candidates, selection.mask
    eligible = candidates.eligible
    if selection.hand:
        mask, eligible = mask & selection.hand.free, eligible & selection.hand.free
    if not mask.any() or (mask & ~eligible).any():
        return None
    left_out = eligible & ~mask
    score, codes = candidates.score, candidates.clusters.codes
    lowest = float(score[mask].min())
    if lowest >= score[left_out].max(initial=-np.inf):
        return lowest, lowest
    kept = np.full(len(candidates.clusters.labels), np.inf)
    dropped = np.full(len(kept), -np.inf)
    np.minimum.at(kept, codes[mask], score[mask])
    np.maximum.at(dropped, codes[left_out], score[left_out])
    if (kept < dropped).any():
        return None
    return lowest, float(kept[np.isfinite(kept)].max())


def band(selection: Selection) -> tuple[float, float] | None:
    """The lowest and highest score in the bands of the clusters; None without a band or rows in it."""
    settings, candidates = selection.settings, selection.candidates
    if "lower" not in settings:
        return None
    groups = [in_band(group, settings["lower"], settings["upper"]) for group in by_cluster(candidates)]
    score = candidates.score[np.concatenate([np.zeros(0, int), *groups])]
    return (float(score.min()), float(score.max())) if len(score) else None


@dataclass(frozen=True)
class RowDetails:
    """One row in a selection.

    `reason` says why the row is dropped, None if it is kept. `rank` is its rank by score, 1 for the highest,
    among the `ranked` eligible rows of its cluster (of the dataset, without clusters); None if the row is not
    eligible. `cluster` is None without clusters. `nearest` are the most similar kept rows, most similar
    first, as (row, cosine similarity); empty without embeddings.
    """

    row: int
    reason: str | None
    cluster: int | None
    rank: int | None
    ranked: int
    nearest: list[tuple[int, float]]


def row_details(selection: Selection, row: int, n_nearest: int = 5) -> RowDetails:
    """Details of `row`, a row number of `selection.source`. O(kept * d)."""
    candidates = selection.candidates
    label = candidates.cluster[row]
    order = hardest(candidates.score, np.flatnonzero(candidates.eligible & (candidates.cluster == label)))
    position = np.flatnonzero(order == row)
    return RowDetails(
        row=row,
        reason=None if selection.mask[row] else selection.reason(row),
        cluster=int(label) if "cluster" in selection.source.column_names else None,
        rank=int(position[0]) + 1 if len(position) else None,
        ranked=len(order),
        nearest=_nearest_kept(selection, row, n_nearest),
    )


def _nearest_kept(selection: Selection, row: int, n: int) -> list[tuple[int, float]]:
    vectors, kept = selection.candidates.embedding, selection.indices
    if vectors is None:
        return []
    kept = kept[kept != row]
    similarity = vectors[kept] @ vectors[row]
    first = np.argsort(-similarity, kind="stable")[:n]
    return [(int(kept[i]), float(similarity[i])) for i in first]

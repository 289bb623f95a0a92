"""Where a selection by IFD cuts the scores."""

import numpy as np

from .result import Selection


def ifd_cut(selection: Selection) -> tuple[float, float] | None:
    """The lowest and the highest IFD at which a cluster is cut; equal where one cut holds for all rows.

    None where the kept rows are not those above a cut: nothing is kept, or other things than IFD count.
    """
    candidates, mask = selection.candidates, selection.mask
    if not mask.any() or (mask & ~candidates.eligible).any():
        return None
    left = candidates.eligible & ~mask
    ifd, codes = candidates.ifd, candidates.clusters.codes
    lowest = float(ifd[mask].min())
    if lowest >= ifd[left].max(initial=-np.inf):
        return lowest, lowest
    kept = np.full(len(candidates.clusters.labels), np.inf)
    dropped = np.full(len(kept), -np.inf)
    np.minimum.at(kept, codes[mask], ifd[mask])
    np.maximum.at(dropped, codes[left], ifd[left])
    if (kept < dropped).any():
        return None
    return lowest, float(kept[np.isfinite(kept)].max())

"""Prefix sums over ranked rows, so that coverage at another ratio is almost free.

A strategy that ranks rows, within clusters or overall, keeps the first rows of each ranked group at every
ratio. So the sums of the features and each anchor's nearest row are stored at every B-th rank, and a cut
between two of them adds the few rows in between. The result equals `Space.sums` on the same rows, up to
rounding.
"""

import numpy as np

from . import mmd, nearest
from .space import Space, Sums

_TABLE_BYTES = 128 * 2**20  # of the table of nearest rows; for more rows, the step B between ranks grows
_CHUNK = 4096  # rows per matrix product


class Prefixes:
    """Precomputed sums of `space` over the first rows of each group.

    `order`, int [r], lists the rows by group and rank. Group g starts at `starts[g]`; `starts`, int
    [n_groups + 1], ends with r. The tables take at most 160 MiB: 128 MiB for the nearest rows, and a quarter
    of that for the features.
    """

    def __init__(self, space: Space, order: np.ndarray, starts: np.ndarray):
        self.space, self.order, self.starts = space, order, starts
        self.vectors = space.embedding[space.anchors]
        self.step = max(1, -(-len(order) * 4 * len(space.anchors) // _TABLE_BYTES))
        self.blocks = np.concatenate([[0], np.cumsum(np.diff(starts) // self.step)])
        self.features = np.zeros((self.blocks[-1], 2 * mmd.FREQUENCIES))
        self.nearest = np.empty((self.blocks[-1], len(space.anchors)), np.float32)
        for group in range(len(starts) - 1):
            self._fill(group)

    def _fill(self, group: int) -> None:
        """Store the sums of one group: of each block of `step` rows, then accumulated along the ranks."""
        first, end = self.blocks[group], self.blocks[group + 1]
        n_blocks = max(1, _CHUNK // self.step)  # per matrix product
        for block in range(first, end, n_blocks):
            chunk = slice(block, min(block + n_blocks, end))
            start = self.starts[group] + (block - first) * self.step
            features, similar = self._values(self.order[start : start + (chunk.stop - block) * self.step])
            self.features[chunk] = features.reshape(-1, self.step, features.shape[1]).sum(axis=1, dtype=float)
            self.nearest[chunk] = similar.reshape(-1, self.step, similar.shape[1]).max(axis=1)
        own = slice(first, end)
        np.cumsum(self.features[own], axis=0, out=self.features[own])
        np.maximum.accumulate(self.nearest[own], axis=0, out=self.nearest[own])

    def _values(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the features [r, f] of `rows` and their similarities to the anchors [r, m]."""
        space = self.space
        similar = nearest.similarities(space.embedding, rows, self.vectors, space.anchors)
        return mmd.features(space.embedding[rows], space.frequency), similar

    def sums(self, counts: np.ndarray) -> Sums:
        """Return the sums over the first `counts[g]` rows of each group g."""
        full_blocks = counts // self.step
        stored = (self.blocks[:-1] + full_blocks - 1)[full_blocks > 0]
        remaining = [
            self.order[start + full * self.step : start + count]
            for start, full, count in zip(self.starts[:-1], full_blocks, counts, strict=True)
        ]
        features, similar = self._values(np.concatenate([*remaining, self.order[:0]]))
        return Sums(
            self.features[stored].sum(axis=0) + features.sum(axis=0, dtype=float),
            np.maximum(
                self.nearest[stored].max(axis=0, initial=-np.inf), similar.max(axis=0, initial=-np.inf)
            ),
        )

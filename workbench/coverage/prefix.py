"""Sums over the first rows of a fixed order, so that another cut costs next to nothing.

Strategies that rank rows (within clusters or overall) keep at each ratio the first rows of each ranked group.
Sums of features and each anchor's nearest row are therefore stored at every B-th rank; a cut between two of
them adds the few rows in between. The numbers are those of `Space.sums` on the same rows, to rounding.
"""

import numpy as np

from . import mmd, nearest
from .space import Space, Sums

_TABLE_BYTES = 128 * 2**20  # of the anchors' nearest rows; more ranks between two entries where n is large
_CHUNK = 4096


class Prefixes:
    """Sums of `space` over the first rows of each group of `order` [r], whose group g starts at `starts[g]`.

    `starts` [g + 1] ends with r. Memory: at most 128 MiB, and a quarter of that for the features.
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
        """The stored sums of one group: those of each block of `step` rows, then run along the ranks."""
        first, end = self.blocks[group], self.blocks[group + 1]
        at_once = max(1, _CHUNK // self.step)  # blocks
        for block in range(first, end, at_once):
            some = slice(block, min(block + at_once, end))
            start = self.starts[group] + (block - first) * self.step
            features, found = self._values(self.order[start : start + (some.stop - block) * self.step])
            self.features[some] = features.reshape(-1, self.step, features.shape[1]).sum(axis=1, dtype=float)
            self.nearest[some] = found.reshape(-1, self.step, found.shape[1]).max(axis=1)
        own = slice(first, end)
        np.cumsum(self.features[own], axis=0, out=self.features[own])
        np.maximum.accumulate(self.nearest[own], axis=0, out=self.nearest[own])

    def _values(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        space = self.space
        found = nearest.similarities(space.embedding, rows, self.vectors, space.anchors)
        return mmd.features(space.embedding[rows], space.frequency), found

    def sums(self, counts: np.ndarray) -> Sums:
        """Sums over the first `counts[g]` rows of each group g."""
        whole = counts // self.step
        stored = (self.blocks[:-1] + whole - 1)[whole > 0]
        between = [
            self.order[start + full * self.step : start + count]
            for start, full, count in zip(self.starts[:-1], whole, counts, strict=True)
        ]
        features, found = self._values(np.concatenate([*between, self.order[:0]]))
        return Sums(
            self.features[stored].sum(axis=0) + features.sum(axis=0, dtype=float),
            np.maximum(self.nearest[stored].max(axis=0, initial=-np.inf), found.max(axis=0, initial=-np.inf)),
        )

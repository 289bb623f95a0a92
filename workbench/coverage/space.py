"""What does not change from one selection to the next, computed once for a table."""

from dataclasses import dataclass

import datasets
import numpy as np

from ..core import tables
from . import mmd, nearest
from .language import languages
from .report import DISTANCES, Coverage
from .shares import Partition

ANCHORS = 2000  # rows whose nearest kept row is looked up
TOPICS = 64
_LENGTH_BINS = 10
_STREAM = 2012  # else strategies under the same seed would draw the anchors, and look better than they are
_CHUNK = 4096  # rows a matrix product takes at once


@dataclass(frozen=True)
class Sums:
    """What a selection adds up to: `features` [f] float64, summed over its rows, and `nearest_other` [m]
    float32, each anchor's similarity to the nearest of its rows but the anchor itself (-inf for none)."""

    features: np.ndarray
    nearest_other: np.ndarray


@dataclass(frozen=True)
class Space:
    """Embeddings [n, d] (null without them) and what is needed to measure selections in them.

    `anchors` are rows of the table, ascending; `topics` assigns each row to the nearest of 64 seeded rows, a
    finer division than the clusters; `lengths` are tenths of the rows by tokens.
    """

    n: int
    embedding: np.ndarray | None
    anchors: np.ndarray
    frequency: np.ndarray | None
    mean_features: np.ndarray | None
    topics: Partition | None
    languages: Partition | None
    lengths: Partition | None
    tokens: np.ndarray | None

    def sums(self, rows: np.ndarray) -> Sums:
        """The sums over `rows`, in one pass over their embeddings."""
        features = np.zeros(2 * mmd.FREQUENCIES)
        best = np.full(len(self.anchors), -np.inf, np.float32)
        vectors = self.embedding[self.anchors]
        for some in _chunks(rows):
            features += mmd.features(self.embedding[some], self.frequency).sum(axis=0, dtype=float)
            found = nearest.similarities(self.embedding, some, vectors, self.anchors)
            np.maximum(best, found.max(axis=0), out=best)
        return Sums(features, best)

    def coverage(self, kept: np.ndarray, sums: Sums | None = None) -> Coverage:
        """All numbers of the selection `kept` [n] bool; `sums` saves the pass over its rows."""
        found = self._by_column(kept)
        if self.embedding is not None and kept.any():
            sums = sums or self.sums(np.flatnonzero(kept))
            found |= self._by_embedding(kept, sums)
        return Coverage(**found)

    def _by_column(self, kept: np.ndarray) -> dict:
        found = {}
        for name in ("topics", "languages", "lengths"):
            partition = getattr(self, name)
            found[name[:-1] + "_divergence"] = partition.divergence(kept) if partition else None
        if self.tokens is not None and self.n:
            tokens = self.tokens[kept]
            found |= {"tokens_kept": int(tokens.sum()), "mean_tokens_all": float(self.tokens.mean())}
            found["mean_tokens_kept"] = float(tokens.mean()) if len(tokens) else None
        return found

    def _by_embedding(self, kept: np.ndarray, sums: Sums) -> dict:
        is_kept = kept[self.anchors]
        distance = nearest.distances(sums.nearest_other, is_kept)
        return {
            "mmd": mmd.discrepancy(self.mean_features, sums.features / kept.sum()),
            "radius": float(distance.max()),
            **{name: float(np.quantile(distance, q)) for name, q in DISTANCES.items()},
            "near_duplicates": nearest.near_duplicates(sums.nearest_other, is_kept),
            "n_anchors": len(self.anchors),
        }


def prepare(
    ds: datasets.Dataset, embedding: np.ndarray | None = None, tokens: np.ndarray | None = None, seed: int = 0
) -> Space:
    """Everything about `ds` that its selections share; one pass over `embedding` [n, d], which is not copied.

    tokens [n] is the training length of each row. What is not given is not measured.
    """
    n, rng = len(ds), np.random.default_rng((_STREAM, seed))
    anchors = np.sort(rng.choice(n, min(n, ANCHORS), replace=False))
    frequency = mean = topics = None
    if embedding is not None and n:
        frequency = mmd.frequencies(embedding[anchors], rng)
        centres = embedding[np.sort(rng.choice(n, min(n, TOPICS), replace=False))]
        mean, topics = _one_pass(embedding, frequency, centres)
    named = Partition.of(languages(ds)) if n else None
    lengths = Partition.of(_tenths(tokens)) if tokens is not None and n else None
    used = embedding if n else None
    return Space(n, used, anchors, frequency, mean, topics, named, lengths, tokens)


def _one_pass(embedding, frequency, centres) -> tuple[np.ndarray, Partition]:
    total, topic = np.zeros(2 * mmd.FREQUENCIES), np.empty(len(embedding), np.int32)
    for some in _chunks(np.arange(len(embedding))):
        vectors = embedding[some[0] : some[-1] + 1]
        total += mmd.features(vectors, frequency).sum(axis=0, dtype=float)
        topic[some] = np.argmax(vectors @ centres.T, axis=1)
    return total / len(embedding), Partition(np.arange(len(centres)), topic)


def _tenths(tokens: np.ndarray) -> np.ndarray:
    """The tenth of the rows by length into which each row falls, [n] int."""
    edges = np.quantile(tokens, np.arange(1, _LENGTH_BINS) / _LENGTH_BINS)
    return np.searchsorted(edges, tokens, side="left")


def read_embedding(ds: datasets.Dataset) -> np.ndarray | None:
    """`tables.vectors(ds)`; null without that column or without rows."""
    if "embedding" not in ds.column_names or not len(ds):
        return None
    return tables.vectors(ds)


def _chunks(rows: np.ndarray):
    return (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))

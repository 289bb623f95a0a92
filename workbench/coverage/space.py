"""`Space`: everything that the coverage of all selections from one table shares, computed once."""

from dataclasses import dataclass

import datasets
import numpy as np

from ..core import tables
from . import mmd, nearest
from .language import languages
from .report import DISTANCES, Coverage
from .shares import Partition

ANCHORS = 2000  # rows whose nearest kept row is computed
TOPICS = 64
_LENGTH_BINS = 10
# Without a random stream of its own, a strategy with the same seed would select the anchors and look too
# good.
_STREAM = 2012
_CHUNK = 4096  # rows per matrix product


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums over the rows of a selection from which its coverage follows.

    `features`, float64 [f], is the sum of the rows' random Fourier features. `nearest_other`, float32 [m], is
    each anchor's similarity to the nearest selected row other than the anchor itself; -inf without such rows.
    """

    features: np.ndarray
    nearest_other: np.ndarray


@dataclass(frozen=True, eq=False)
class Space:
    """The embeddings of `n` rows and the precomputed parts of the coverage metrics.

    `embedding` is float32 [n, d], or None; `frequency`, `mean_features` and `topics` are then None, too.
    `anchors`, int [m], are rows of the table in ascending order. `topics` assigns each row to the nearest of
    64 random rows, a finer partition than clusters. `lengths` are the deciles of `tokens`, int [n].
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
        """Return the sums over `rows`, int [r], in one pass over their embeddings."""
        features = np.zeros(2 * mmd.FREQUENCIES)
        best = np.full(len(self.anchors), -np.inf, np.float32)
        vectors = self.embedding[self.anchors]
        for chunk in _chunks(rows):
            features += mmd.features(self.embedding[chunk], self.frequency).sum(axis=0, dtype=float)
            similarity = nearest.similarities(self.embedding, chunk, vectors, self.anchors)
            np.maximum(best, similarity.max(axis=0), out=best)
        return Sums(features, best)

    def coverage(self, kept: np.ndarray, sums: Sums | None = None) -> Coverage:
        """Return the coverage of the selection `kept`, bool [n].

        With the `sums` of the selection, e.g. from `Prefixes`, no pass over its rows is needed.
        """
        metrics = self._by_column(kept)
        if self.embedding is not None and kept.any():
            sums = sums or self.sums(np.flatnonzero(kept))
            metrics |= self._by_embedding(kept, sums)
        return Coverage(**metrics)

    def _by_column(self, kept: np.ndarray) -> dict:
        metrics = {}
        for name in ("topics", "languages", "lengths"):
            partition = getattr(self, name)
            metrics[name[:-1] + "_divergence"] = partition.divergence(kept) if partition else None
        if self.tokens is not None and self.n:
            tokens = self.tokens[kept]
            metrics |= {"tokens_kept": int(tokens.sum()), "mean_tokens_all": float(self.tokens.mean())}
            metrics["mean_tokens_kept"] = float(tokens.mean()) if len(tokens) else None
        return metrics

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
    """Return the `Space` of `ds`, with one pass over the embeddings, which are not copied.

    `embedding` is float32 [n, d] with unit vectors, and `tokens`, int [n], is the training length of each
    row. Without one of them its metrics are None. `seed` draws the anchors, topics and frequencies.
    """
    n, rng = len(ds), np.random.default_rng((_STREAM, seed))
    anchors = np.sort(rng.choice(n, min(n, ANCHORS), replace=False))
    frequency = mean = topics = None
    if embedding is not None and n:
        frequency = mmd.frequencies(embedding[anchors], rng)
        centres = embedding[np.sort(rng.choice(n, min(n, TOPICS), replace=False))]
        mean, topics = _one_pass(embedding, frequency, centres)
    by_language = Partition.of(languages(ds)) if n else None
    lengths = Partition.of(_deciles(tokens)) if tokens is not None and n else None
    embedding = embedding if n else None
    return Space(n, embedding, anchors, frequency, mean, topics, by_language, lengths, tokens)


def _one_pass(embedding, frequency, centres) -> tuple[np.ndarray, Partition]:
    """Return the mean features [f] and the partition by the nearest of `centres` [k, d]."""
    total, topic = np.zeros(2 * mmd.FREQUENCIES), np.empty(len(embedding), np.int32)
    for chunk in _chunks(np.arange(len(embedding))):
        vectors = embedding[chunk[0] : chunk[-1] + 1]
        total += mmd.features(vectors, frequency).sum(axis=0, dtype=float)
        topic[chunk] = np.argmax(vectors @ centres.T, axis=1)
    return total / len(embedding), Partition(np.arange(len(centres)), topic)


def _deciles(tokens: np.ndarray) -> np.ndarray:
    """Return the decile by length of each row, int [n], 0 to 9."""
    edges = np.quantile(tokens, np.arange(1, _LENGTH_BINS) / _LENGTH_BINS)
    return np.searchsorted(edges, tokens, side="left")


def read_embedding(ds: datasets.Dataset) -> np.ndarray | None:
    """Return `tables.vectors(ds)`, or None without the column `embedding` or without rows."""
    if "embedding" not in ds.column_names or not len(ds):
        return None
    return tables.vectors(ds)


def _chunks(rows: np.ndarray):
    return (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))

"""Shares of each cluster, language, topic or length before and after, and how far apart they are.

A subset trains a model on another mixture of tasks than the whole where these shares move.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Partition:
    """Every row in one of the groups `labels`; `codes` [n] is its place there."""

    labels: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Partition":
        """Rows of equal value together, in the order of the values."""
        return cls(*np.unique(values, return_inverse=True))

    def counts(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Rows of each group, or those of them in `mask` [n] bool."""
        codes = self.codes if mask is None else self.codes[mask]
        return np.bincount(codes, minlength=len(self.labels))

    def divergence(self, mask: np.ndarray) -> float | None:
        """Jensen-Shannon divergence (bits) of the groups' shares in all rows and in `mask`; null for none."""
        kept = self.counts(mask)
        if not kept.sum():
            return None
        return jensen_shannon(self.counts() / len(self.codes), kept / kept.sum())


def cluster_shares(cluster: np.ndarray | Partition, eligible: np.ndarray, kept: np.ndarray) -> pd.DataFrame:
    """A line for each cluster: `rows`, `eligible`, `kept`, and the shares `of_all` and `of_kept` (0 to 1).

    cluster [n] int, or its partition where many selections are looked at; eligible [n] bool, kept [n] bool.
    """
    clusters = cluster if isinstance(cluster, Partition) else Partition.of(cluster)
    rows, kept_rows = clusters.counts(), clusters.counts(kept)
    return pd.DataFrame(
        {
            "cluster": clusters.labels,
            "rows": rows,
            "eligible": clusters.counts(eligible),
            "kept": kept_rows,
            "of_all": rows / max(1, len(clusters.codes)),
            "of_kept": kept_rows / max(1, int(kept_rows.sum())),
        }
    )


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two distributions, in bits: 0 for equal ones, 1 for disjoint ones.

    Unlike Kullback-Leibler it stays finite when a cluster is lost altogether (Lin, 1991).
    """
    middle = (p + q) / 2

    def relative_entropy(a):
        some = a > 0
        return float(np.sum(a[some] * np.log2(a[some] / middle[some])))

    # Rounding can leave -1e-17 for equal distributions.
    return max(0.0, (relative_entropy(p) + relative_entropy(q)) / 2)

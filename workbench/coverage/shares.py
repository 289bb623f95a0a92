"""Compare the shares of clusters, languages, topics or lengths in all rows and in the kept rows.

If the shares change, the model trains on a different mixture of tasks.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Partition:
    """A partition of n rows into groups: row i belongs to `labels[codes[i]]`, with codes int [n]."""

    labels: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Partition":
        """Group the rows by equal values [n]; the labels are the sorted distinct values."""
        return cls(*np.unique(values, return_inverse=True))

    def counts(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Return the number of rows in each group, int [n_groups]; with `mask`, bool [n], only of those."""
        codes = self.codes if mask is None else self.codes[mask]
        return np.bincount(codes, minlength=len(self.labels))

    def divergence(self, mask: np.ndarray) -> float | None:
        """Return the Jensen-Shannon divergence (bits) between the shares in all rows and in `mask`, bool [n].

        None if `mask` is empty.
        """
        kept = self.counts(mask)
        if not kept.sum():
            return None
        return jensen_shannon(self.counts() / len(self.codes), kept / kept.sum())


def cluster_shares(cluster: np.ndarray | Partition, eligible: np.ndarray, kept: np.ndarray) -> pd.DataFrame:
    """Return one row per cluster with its numbers of rows and its shares.

    The columns are `cluster`, `rows`, `eligible` and `kept` (numbers of rows), and `of_all` and `of_kept`
    (the cluster's share of all and of the kept rows, 0 to 1).

    `cluster` is int [n], or its `Partition`, which is faster for many selections. `eligible` and `kept` are
    bool [n].
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
    """Return the Jensen-Shannon divergence of two distributions [k], in bits (Lin, 1991).

    JS(p, q) = KL(p | m) / 2 + KL(q | m) / 2 with m = (p + q) / 2 and KL(a | m) = sum a log2(a / m). It is 0
    for equal and 1 for disjoint distributions. Unlike the Kullback-Leibler divergence it stays finite if a
    group is lost.
    """
    middle = (p + q) / 2

    def relative_entropy(a):
        positive = a > 0
        return float(np.sum(a[positive] * np.log2(a[positive] / middle[positive])))

    # Rounding can leave -1e-17 for equal distributions.
    return max(0.0, (relative_entropy(p) + relative_entropy(q)) / 2)

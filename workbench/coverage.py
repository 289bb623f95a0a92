"""How faithfully a selection represents the whole: the share of each cluster before and after."""

import numpy as np
import pandas as pd


def cluster_shares(cluster: np.ndarray, eligible: np.ndarray, kept: np.ndarray) -> pd.DataFrame:
    """A line for each cluster: `rows`, `eligible`, `kept`, and the shares `of_all` and `of_kept` (0 to 1).

    cluster [n] int, eligible [n] bool, kept [n] bool.
    """
    labels, at = np.unique(cluster, return_inverse=True)

    def count(mask=None):
        return np.bincount(at if mask is None else at[mask], minlength=len(labels))

    table = pd.DataFrame(
        {"cluster": labels, "rows": count(), "eligible": count(eligible), "kept": count(kept)}
    )
    table["of_all"] = table["rows"] / max(1, len(cluster))
    table["of_kept"] = table["kept"] / max(1, int(kept.sum()))
    return table


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

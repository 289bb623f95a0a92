"""What a cheaper scorer costs: how far its scores, and the rows chosen by them, are from another's."""

from dataclasses import dataclass

import datasets
import numpy as np
from scipy.stats import kendalltau, spearmanr

from ..complexity import score
from ..core import tables
from ..core.errors import UserError, positive
from ..selection import select


@dataclass(frozen=True)
class Agreement:
    """Two scorings of the same rows: `rows` that both scored, rank correlations, and the largest difference
    of a score, as a share of the second's."""

    rows: int
    spearman: float
    kendall: float
    largest_relative_difference: float


@dataclass(frozen=True)
class ScorerReport:
    """`cheap` in place of `target`, on a sample of rows.

    `overlap` is the share of the rows that the target's scores select which the cheap ones select too;
    by chance it would be `by_chance`, the share of the sample that is selected.
    """

    cheap: str
    target: str
    agreement: Agreement
    ratio: float
    overlap: float
    by_chance: float

    def __str__(self) -> str:
        found = self.agreement
        return (
            f"{self.cheap} in place of {self.target}, {found.rows} rows: Spearman {found.spearman:.3f}, "
            f"Kendall {found.kendall:.3f}; of the rows kept at ratio {self.ratio:g} it keeps "
            f"{self.overlap:.1%} (by chance {self.by_chance:.1%})"
        )


def agreement(first: np.ndarray, second: np.ndarray) -> Agreement | None:
    """How far `first` is from `second`, both [rows] with NaN for no score; None for fewer than two rows."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 2:
        return None
    first, second = first[both], second[both]
    return Agreement(
        rows=int(both.sum()),
        spearman=float(spearmanr(first, second).statistic),
        kendall=float(kendalltau(first, second).statistic),
        largest_relative_difference=float(np.max(np.abs(first / second - 1))),
    )


def compare_scorers(
    ds: datasets.Dataset,
    cheap: str,
    target: str,
    *,
    rows: int = 200,
    ratio: float = 0.4,
    seed: int = 0,
    cheap_options: dict | None = None,
    **options,
) -> ScorerReport:
    """Score a random sample of `rows` rows with both models and compare scores and selections.

    `options` are `wb.score`'s for both; `cheap_options` change them for the cheap one, say its `dtype`. Rows
    are selected within clusters where `ds` has them, else by score alone.
    """
    positive("rows", rows)
    sample = np.random.default_rng(seed).permutation(len(ds))[:rows]
    ds = ds.select(np.sort(sample))
    scored = [score(ds, cheap, **options | (cheap_options or {})), score(ds, target, **options)]
    found = agreement(*(tables.array(table, "ifd") for table in scored))
    if found is None:
        raise UserError(f"rows={rows}: fewer than two rows got a score from both models; give more rows.")
    strategy = "ifd-cluster" if "cluster" in ds.column_names else "ifd-top"
    by_cheap, by_target = (select(table, ratio, strategy).indices for table in scored)
    return ScorerReport(
        cheap=cheap,
        target=target,
        agreement=found,
        ratio=ratio,
        overlap=len(np.intersect1d(by_cheap, by_target)) / max(1, len(by_target)),
        by_chance=len(by_cheap) / len(ds),
    )

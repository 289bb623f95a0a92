"""Compare two scoring models: how far their scores, and the rows selected by them, agree."""

from dataclasses import dataclass

import datasets
import numpy as np
from scipy.stats import kendalltau, spearmanr

from ..complexity import score
from ..core import tables
from ..core.errors import UserError, positive, seed_of
from ..selection import select


@dataclass(frozen=True)
class Agreement:
    """Agreement of two scorings of the same rows.

    `rows` counts the rows that both scored. `spearman` and `kendall` are rank correlations (-1 to 1).
    `largest_relative_difference` is the largest |first / second - 1|.
    """

    rows: int
    spearman: float
    kendall: float
    largest_relative_difference: float


@dataclass(frozen=True)
class ScorerReport:
    """How well model `cheap` replaces model `target`, on a sample of rows.

    `overlap` is the share (0 to 1) of the rows selected by the target's scores that the cheap scores select
    too. By chance it would be `by_chance`, the selected share of the sample.
    """

    cheap: str
    target: str
    agreement: Agreement
    ratio: float
    overlap: float
    by_chance: float

    def __str__(self) -> str:
        return (
            f"{self.cheap} in place of {self.target} on {self.agreement.rows} rows: "
            f"Spearman {self.agreement.spearman:.3f}, Kendall {self.agreement.kendall:.3f}; "
            f"at ratio {self.ratio:g} it keeps {self.overlap:.1%} of the same rows "
            f"(by chance {self.by_chance:.1%})"
        )


def agreement(first: np.ndarray, second: np.ndarray) -> Agreement | None:
    """Agreement of two score arrays, float [n], NaN for rows without a score.

    None if fewer than two rows have both scores.
    """
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
    """Score a random sample of rows with two models and compare their scores and selections.

    Args:
        cheap, target: models, as in `wb.score`; the second is the reference.
        rows: size of the sample.
        ratio: share of the eligible rows that both selections keep, by "ifd-cluster" if `ds` has a column
            `cluster`, else by "ifd-top".
        seed: of the sample.
        options, cheap_options: arguments of `wb.score` for both models, and those that differ for `cheap`,
            e.g. `{"dtype": "bfloat16"}`.

    Returns:
        A `ScorerReport`: rank correlations (Spearman, Kendall), the largest relative difference of a score,
        and the overlap of the two selections beside what chance gives.

    Raises:
        UserError: fewer than two rows get a score from both models, or `wb.score` raises it.
    """
    positive("rows", rows)
    sample = np.random.default_rng(seed_of(seed)).permutation(len(ds))[:rows]
    ds = ds.select(np.sort(sample))
    scored_tables = [score(ds, cheap, **options | (cheap_options or {})), score(ds, target, **options)]
    measured = agreement(*(tables.array(table, "ifd") for table in scored_tables))
    if measured is None:
        raise UserError(f"rows={rows}: fewer than two rows got a score from both models; give more rows.")
    strategy = "ifd-cluster" if "cluster" in ds.column_names else "ifd-top"
    by_cheap, by_target = (select(table, ratio, strategy).indices for table in scored_tables)
    return ScorerReport(
        cheap=cheap,
        target=target,
        agreement=measured,
        ratio=ratio,
        overlap=len(np.intersect1d(by_cheap, by_target)) / max(1, len(by_target)),
        by_chance=len(by_cheap) / len(ds),
    )

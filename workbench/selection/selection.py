"""The rows a selection keeps, those it drops and why, and how the kept rows represent the whole."""

from dataclasses import dataclass
from functools import cached_property

import datasets
import numpy as np
import pandas as pd

from .. import coverage
from .candidates import IFD, Candidates, mean
from .hand import Hand
from .registry import STRATEGIES


@dataclass(frozen=True, eq=False)
class Report:
    """What a selection keeps, counted over all rows of the dataset.

    `n_eligible` counts the rows with an IFD below `max_ifd`; by another column, those with a value.
    `clusters` is the table of `coverage.cluster_shares`, and `divergence` the Jensen-Shannon divergence
    (bits, 0 to 1) between the clusters' shares of all rows and of the kept rows; both are None without a
    column `cluster`. `ranked_by` is the column that ranks, "ifd" or the one named as `by`; None if the
    strategy reads neither. `mean_score_all` and `mean_score_kept` are its means. All means are over rows with
    a value, None if there are none.
    """

    n_rows: int
    n_eligible: int
    n_kept: int
    mean_ifd_all: float | None
    mean_ifd_kept: float | None
    clusters: pd.DataFrame | None
    divergence: float | None
    ranked_by: str | None = None
    mean_score_all: float | None = None
    mean_score_kept: float | None = None

    @property
    def share_of_all(self) -> float:
        """Kept rows over all rows, 0 to 1."""
        return self.n_kept / max(1, self.n_rows)

    @property
    def share_of_eligible(self) -> float:
        """Kept rows over eligible rows; above 1 if a strategy keeps rows without a score."""
        return self.n_kept / max(1, self.n_eligible)

    @property
    def clusters_lost(self) -> int:
        """Number of clusters without a kept row."""
        return 0 if self.clusters is None else int((self.clusters["kept"] == 0).sum())


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows of `source` that a strategy keeps; returned by `wb.select`.

    `indices` are the kept row numbers, int64, ascending. `settings` are strategy, budget, `max_ifd`, seed,
    and `by`, `lower` and `upper` if the strategy reads them. `dataset`, `dropped`, `report` and `coverage`
    are computed on first use. `hand` says what is kept and dropped by
    hand. `sums`, if given, spare `coverage` a pass over the embeddings.
    """

    source: datasets.Dataset
    indices: np.ndarray
    candidates: Candidates
    settings: dict
    sums: coverage.Sums | None = None
    hand: Hand | None = None

    @cached_property
    def mask(self) -> np.ndarray:
        """bool [n]: True for the kept rows of `source`."""
        mask = np.zeros(len(self.candidates), bool)
        mask[self.indices] = True
        return mask

    @cached_property
    def dataset(self) -> datasets.Dataset:
        """The kept rows with all their columns, in the order of `source`."""
        return self.source.select(self.indices)

    @cached_property
    def dropped(self) -> dict[int, str]:
        """Row number -> reason, for every row that is not kept."""
        return {row: self.reason(row) for row in np.flatnonzero(~self.mask).tolist()}

    def reason(self, row: int) -> str:
        """Why `row`, which is not kept, was dropped."""
        if self.hand and (reason := self.hand.reason(row)):
            return reason
        strategy, candidates = STRATEGIES[self.settings["strategy"]], self.candidates
        ifd, cluster = candidates.ifd[row], candidates.cluster[row]
        if strategy.pool == "eligible" and not candidates.eligible[row]:
            return self._why_not_eligible(row)
        score = candidates.score_of(row) if "{score" in strategy.reason else ""
        return strategy.reason.format(name=strategy.name, ifd=ifd, cluster=cluster, score=score)

    def _why_not_eligible(self, row: int) -> str:
        candidates, ifd = self.candidates, self.candidates.ifd[row]
        if candidates.by != IFD:
            return f"no {candidates.by}"
        if not np.isnan(ifd):
            return f"IFD {ifd:.4f} is not below max_ifd {candidates.max_ifd:g}"
        columns = [name for name in ("score_reason", "score_status") if name in self.source.column_names]
        reasons = (candidates.column(name)[row] for name in columns)
        return f"not scored: {next(filter(None, reasons), 'no IFD')}"

    @cached_property
    def report(self) -> Report:
        """Counts, mean scores and cluster shares of the kept rows."""
        clusters = divergence = None
        if "cluster" in self.source.column_names:
            clusters = coverage.cluster_shares(self.candidates.clusters, self.candidates.eligible, self.mask)
            divergence = self.candidates.clusters.divergence(self.mask)
        return Report(
            n_rows=len(self.candidates),
            n_eligible=self.candidates.n_eligible,
            n_kept=len(self.indices),
            mean_ifd_all=self.candidates.mean_ifd,
            mean_ifd_kept=mean(self.candidates.ifd[self.indices]),
            clusters=clusters,
            divergence=divergence,
            **self._scores,
        )

    @property
    def _scores(self) -> dict:
        """The fields of the report about the column that ranks; empty if none does."""
        by = self.settings.get("by")
        if by is None:
            return {}
        score = self.candidates.score
        return {
            "ranked_by": by,
            "mean_score_all": mean(score),
            "mean_score_kept": mean(score[self.indices]),
        }

    @cached_property
    def coverage(self) -> coverage.Coverage:
        """How well the kept rows represent all rows, in embedding space if there are embeddings."""
        return self.candidates.space.coverage(self.mask, self.sums)

    @property
    def numbers(self) -> dict[str, float | None]:
        """The numbers of `report` and `coverage` by name."""
        report = self.report
        numbers = {"n_kept": report.n_kept, "mean_ifd": report.mean_ifd_kept}
        if self.candidates.by != IFD:
            numbers[f"mean_{self.candidates.by}"] = mean(self.candidates.score[self.indices])
        if report.clusters is not None:
            numbers |= {"cluster_divergence": report.divergence, "clusters_lost": report.clusters_lost}
        return numbers | self.coverage.numbers

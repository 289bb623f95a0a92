"""What a selection keeps, what it drops and why, and what that does to the whole."""

from dataclasses import dataclass
from functools import cached_property

import datasets
import numpy as np
import pandas as pd

from .. import coverage
from .columns import Candidates, mean
from .registry import STRATEGIES


@dataclass(frozen=True)
class Report:
    """What a selection keeps and loses, over all rows of the dataset.

    `clusters` is `coverage.cluster_shares`; `divergence` is the Jensen-Shannon divergence (bits) between the
    clusters' shares of all rows and of the kept ones; both are null without a cluster column.
    """

    n_rows: int
    n_eligible: int
    n_kept: int
    mean_ifd_all: float | None
    mean_ifd_kept: float | None
    clusters: pd.DataFrame | None
    divergence: float | None

    @property
    def share_of_all(self) -> float:
        return self.n_kept / max(1, self.n_rows)

    @property
    def share_of_eligible(self) -> float:
        return self.n_kept / max(1, self.n_eligible)

    @property
    def clusters_lost(self) -> int:
        """Clusters of which nothing is kept."""
        return 0 if self.clusters is None else int((self.clusters["kept"] == 0).sum())


@dataclass(frozen=True)
class Selection:
    """`indices` (int64, ascending) of the kept rows of `source`, and how they were chosen.

    `dataset`, `dropped`, `report` and `coverage` are computed when first asked for; `sums`, where they are
    known, save `coverage` the pass over the embeddings.
    """

    source: datasets.Dataset
    indices: np.ndarray
    candidates: Candidates
    settings: dict
    sums: coverage.Sums | None = None

    @cached_property
    def mask(self) -> np.ndarray:
        """[n] bool over `source`."""
        mask = np.zeros(len(self.candidates), bool)
        mask[self.indices] = True
        return mask

    @cached_property
    def dataset(self) -> datasets.Dataset:
        """The kept rows."""
        return self.source.select(self.indices)

    @cached_property
    def dropped(self) -> dict[int, str]:
        """Row number -> why it was left out, for every row that was."""
        return {row: self.reason(row) for row in np.flatnonzero(~self.mask).tolist()}

    def reason(self, row: int) -> str:
        """Why `row`, which is not kept, was left out."""
        strategy, ifd = STRATEGIES[self.settings["strategy"]], self.candidates.ifd[row]
        if strategy.pool == "eligible" and np.isnan(ifd):
            has = self.source.column_names
            told = (self.candidates.column(n)[row] for n in ("score_reason", "score_status") if n in has)
            return f"not scored: {next(filter(None, told), 'no IFD')}"
        if strategy.pool == "eligible" and not self.candidates.eligible[row]:
            return f"IFD {ifd:.4f} is not below max_ifd {self.candidates.max_ifd:g}"
        return strategy.reason.format(name=strategy.name, ifd=ifd, cluster=self.candidates.cluster[row])

    @cached_property
    def report(self) -> Report:
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
        )

    @cached_property
    def coverage(self) -> coverage.Coverage:
        """How the kept rows represent all, in embedding space where there is one."""
        return self.candidates.space.coverage(self.mask, self.sums)

    @property
    def numbers(self) -> dict[str, float | None]:
        """The numbers of `report` and `coverage` by name."""
        report = self.report
        found = {"n_kept": report.n_kept, "mean_ifd": report.mean_ifd_kept}
        if report.clusters is not None:
            found |= {"cluster_divergence": report.divergence, "clusters_lost": report.clusters_lost}
        return found | self.coverage.numbers

"""Columns and a ratio -> the rows to train on, with a reason for every row left out.

A strategy is one function from `Candidates`, a `Budget` and a random generator to the kept row numbers; put
it into `STRATEGIES` and every part of the workbench knows it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from numbers import Real

import datasets
import numpy as np
import pandas as pd

from . import coverage, tables
from .errors import UserError, one_of, positive


@dataclass(frozen=True)
class Candidates:
    """The columns that strategies look at, each [n]; `ifd` is NaN where a row has no score."""

    ifd: np.ndarray
    cluster: np.ndarray
    eligible: np.ndarray  # scored, and below max_ifd

    def __len__(self) -> int:
        return len(self.eligible)


@dataclass(frozen=True)
class Budget:
    """How much to keep: a share in (0, 1], or a number of rows."""

    ratio: float | None
    rows: int | None = None

    def of(self, n: int) -> int:
        """Rows to keep out of `n`, the share rounded down as the paper does."""
        return min(n, self.rows) if self.rows is not None else int(n * self.ratio)


def _hardest(candidates: Candidates, rows: np.ndarray) -> np.ndarray:
    """`rows` by IFD, highest first; equal scores keep the order of the dataset."""
    return rows[np.argsort(-candidates.ifd[rows], kind="stable")]


def ifd_cluster(candidates: Candidates, budget: Budget, rng: np.random.Generator) -> np.ndarray:
    """The paper's rule: of each cluster's eligible rows the `int(n * ratio)` with the highest IFD."""
    if budget.rows is not None:
        raise UserError(
            "strategy='ifd-cluster' takes a ratio, not a number of rows; see 'ifd-top' for those."
        )
    kept = [np.zeros(0, int)]
    for label in np.unique(candidates.cluster):
        rows = np.flatnonzero((candidates.cluster == label) & candidates.eligible)
        kept.append(_hardest(candidates, rows)[: budget.of(len(rows))])
    return np.concatenate(kept)


def ifd_top(candidates: Candidates, budget: Budget, rng: np.random.Generator) -> np.ndarray:
    """The highest IFD of all eligible rows, whatever their cluster: complexity without consistency."""
    rows = np.flatnonzero(candidates.eligible)
    return _hardest(candidates, rows)[: budget.of(len(rows))]


def random(candidates: Candidates, budget: Budget, rng: np.random.Generator) -> np.ndarray:
    """Any rows, scored or not: the baseline that every rule has to beat."""
    return rng.choice(len(candidates), size=budget.of(len(candidates)), replace=False)


Strategy = Callable[[Candidates, Budget, np.random.Generator], np.ndarray]
STRATEGIES: dict[str, Strategy] = {"ifd-cluster": ifd_cluster, "ifd-top": ifd_top, "random": random}
_NEEDS = {"ifd-cluster": ("ifd", "cluster"), "ifd-top": ("ifd",)}


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

    `dataset`, `dropped` and `report` are computed when first asked for.
    """

    source: datasets.Dataset
    indices: np.ndarray
    candidates: Candidates
    settings: dict

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
        by_ifd = self.settings["strategy"] in _NEEDS
        reasons = {}
        for row in np.flatnonzero(~self.mask).tolist():
            reasons[row] = self._below(row) if by_ifd else f"not chosen by {self.settings['strategy']}"
        return reasons

    def _below(self, row: int) -> str:
        ifd = self.candidates.ifd[row]
        if np.isnan(ifd):
            status = self.source[row].get("score_status", "no IFD")
            return f"not scored: {status}"
        if not self.candidates.eligible[row]:
            return f"IFD {ifd:.4f} is not below max_ifd {self.settings['max_ifd']:g}"
        where = (
            f" of cluster {self.candidates.cluster[row]}"
            if self.settings["strategy"] == "ifd-cluster"
            else ""
        )
        return f"IFD {ifd:.4f} is below the cut{where}"

    @cached_property
    def report(self) -> Report:
        clusters = divergence = None
        if "cluster" in self.source.column_names:
            clusters = coverage.cluster_shares(self.candidates.cluster, self.candidates.eligible, self.mask)
            if len(self.indices):
                divergence = coverage.jensen_shannon(
                    clusters["of_all"].to_numpy(), clusters["of_kept"].to_numpy()
                )
        return Report(
            n_rows=len(self.candidates),
            n_eligible=int(self.candidates.eligible.sum()),
            n_kept=len(self.indices),
            mean_ifd_all=_mean(self.candidates.ifd),
            mean_ifd_kept=_mean(self.candidates.ifd[self.indices]),
            clusters=clusters,
            divergence=divergence,
        )


def _mean(values: np.ndarray) -> float | None:
    scored = values[~np.isnan(values)]
    return float(scored.mean()) if len(scored) else None


def candidates_of(ds: datasets.Dataset, max_ifd: float = 1.0) -> Candidates:
    """The columns of `ds` that strategies look at; absent ones as all-NaN scores and one cluster."""
    has = ds.column_names
    ifd = tables.array(ds, "ifd").astype(float) if "ifd" in has else np.full(len(ds), np.nan)
    cluster = tables.array(ds, "cluster") if "cluster" in has else np.zeros(len(ds), int)
    with np.errstate(invalid="ignore"):
        return Candidates(ifd, cluster, ifd < max_ifd)  # NaN is below nothing


def select(
    ds: datasets.Dataset,
    ratio: float | None = None,
    strategy: str = "ifd-cluster",
    *,
    rows: int | None = None,
    max_ifd: float = 1.0,
    seed: int = 0,
    candidates: Candidates | None = None,
) -> Selection:
    """Choose rows of `ds` by `strategy`: a `ratio` in (0, 1] (0.4 unless given), or a number of `rows`.

    For strategies by IFD the ratio is of the eligible rows, those with a score below `max_ifd`: from 1 on the
    instruction hurts (arXiv 2504.12687, section 3). `seed` matters to strategies that draw. `candidates`
    (from `candidates_of`) saves reading the columns again when many ratios are tried.
    """
    one_of("strategy", strategy, STRATEGIES)
    tables.require(ds, _NEEDS.get(strategy, ()), "wb.score, wb.embed and wb.cluster")
    if rows is not None:
        if ratio is not None:
            raise UserError(f"ratio={ratio} and rows={rows} are two budgets; give one of them.")
        positive("rows", rows)
    else:
        ratio = check_ratio(0.4 if ratio is None else ratio)
    candidates = candidates or candidates_of(ds, max_ifd)
    kept = STRATEGIES[strategy](candidates, Budget(ratio, rows), np.random.default_rng(seed))
    settings = {"strategy": strategy, "ratio": ratio, "rows": rows, "max_ifd": max_ifd, "seed": seed}
    return Selection(ds, np.sort(kept).astype(np.int64), candidates, settings)


def check_ratio(ratio: float) -> float:
    """`ratio` if it is a share in (0, 1]."""
    if isinstance(ratio, bool) or not isinstance(ratio, Real) or not 0 < ratio <= 1:
        raise UserError(
            f"ratio={ratio!r} must be above 0 and at most 1: 0.4 keeps 40 % of the eligible rows."
        )
    return float(ratio)

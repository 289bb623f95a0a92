"""Select rows within one budget (`select`) or, quickly, within many (`Explorer`)."""

from dataclasses import asdict
from functools import cached_property

import datasets
import numpy as np

from .. import coverage
from .budget import Budget, budget_of
from .candidates import Candidates
from .ranking import Ranking
from .registry import strategy_for
from .selection import Selection


def select(
    ds: datasets.Dataset,
    ratio: float | None = None,
    strategy: str = "ifd-cluster",
    *,
    rows: int | None = None,
    tokens: int | None = None,
    max_ifd: float = 1.0,
    seed: int = 0,
    candidates: Candidates | None = None,
) -> Selection:
    """Select the rows of `ds` to train on (arXiv 2504.12687, section 3).

    The default keeps, in each cluster, the `int(n * 0.4)` rows with the highest IFD among its n eligible
    rows. A row is eligible if it has a score below `max_ifd`; at an IFD of 1 or more the instruction does not
    help.

    Strategies
    - "ifd-cluster": the paper's rule; needs `ifd` and `cluster`.
    - "ifd-quota": the hardest rows of each cluster, each cluster with its share of all rows; needs both.
    - "ifd-top": the highest IFD, whatever the cluster.
    - "ppl-top": the highest perplexity of the response given the instruction.
    - "random": any rows, scored or not. "random-tokens": as many of them as fit into the tokens that
      "ifd-cluster" keeps within this budget.
    - "deita": the highest IFD, skipping rows similar to one that is kept already; needs `embedding`.
    - "k-center", "facility-location", "parametric": cover the embedding space and ignore scores; need
      `embedding`.
    - any registered with `wb.strategy`.

    Budgets, of which one is given
    - `ratio` in (0, 1], 0.4 by default: a share of the eligible rows for "ifd-cluster", "ifd-top", "ppl-top"
      and "deita", rounded down, per cluster for "ifd-cluster"; a share of all rows for the others.
    - `rows`: a number of rows, filled in the strategy's order; with clusters, in the order in which rows
      enter as the ratio grows.
    - `tokens`: a number of training tokens (column `n_tokens`), filled likewise up to the first row that
      would exceed it.
    A strategy keeps fewer rows where it has no more to offer.

    `seed` matters only to strategies that draw. `candidates` (`selection.Candidates(ds, max_ifd)`) spares
    reading the columns again over several calls; its `max_ifd` takes precedence.

    Returns a `Selection`: `.indices` (int64, ascending), `.dataset`, `.dropped` (row -> reason), `.report`
    and `.coverage`.

    Raises UserError if the strategy is unknown, if `ds` lacks a column that it needs, if more than one budget
    is given, or if the budget is out of range.

    Not covered: whether the selection trains a better model than chance; see `wb.compare`.
    """
    budget = budget_of(ratio, rows, tokens)
    chosen = strategy_for(ds, strategy, uses_tokens=tokens is not None)
    candidates = candidates or Candidates(ds, max_ifd)
    ranking = chosen.ranking(candidates, budget, seed)
    kept = ranking.first(chosen.allot(candidates, ranking, budget))
    return Selection(ds, np.sort(kept), candidates, _settings(strategy, budget, candidates, seed))


class Explorer:
    """Selections of `ds` by one strategy within any budget, fast enough for a slider.

    >>> explorer = wb.Explorer(ds)
    >>> explorer.at(0.4).coverage.mmd

    Results equal those of `wb.select`. The first call ranks the rows and sums their features once; later
    calls take milliseconds. This holds for strategies registered as `nested`, whose order does not depend on
    the budget: those by IFD or perplexity, and the random ones. The others select and measure anew each time.

    Parameters and errors are those of `wb.select`.
    """

    def __init__(
        self,
        ds: datasets.Dataset,
        strategy: str = "ifd-cluster",
        *,
        max_ifd: float = 1.0,
        seed: int = 0,
        candidates: Candidates | None = None,
    ):
        self.strategy = strategy_for(ds, strategy)
        self.ds, self.seed = ds, seed
        self.candidates = candidates or Candidates(ds, max_ifd)

    @cached_property
    def _ranking(self) -> Ranking:
        return self.strategy.ranking(self.candidates, budget_of(1.0, None, None), self.seed)

    @cached_property
    def _prefixes(self) -> coverage.Prefixes | None:
        if self.candidates.embedding is None:
            return None
        return coverage.Prefixes(self.candidates.space, self._ranking.order, self._ranking.starts)

    def at(
        self, ratio: float | None = None, *, rows: int | None = None, tokens: int | None = None
    ) -> Selection:
        """The `Selection` within this budget; see `wb.select`."""
        budget = budget_of(ratio, rows, tokens)
        strategy_for(self.ds, self.strategy.name, uses_tokens=tokens is not None)
        nested = self.strategy.nested
        ranking = self._ranking if nested else self.strategy.ranking(self.candidates, budget, self.seed)
        counts = self.strategy.allot(self.candidates, ranking, budget)
        mask = np.zeros(len(self.candidates), bool)
        mask[ranking.first(counts)] = True
        settings = _settings(self.strategy.name, budget, self.candidates, self.seed)
        sums = self._prefixes.sums(counts) if nested and self._prefixes else None
        return Selection(self.ds, np.flatnonzero(mask), self.candidates, settings, sums)


def _settings(strategy: str, budget: Budget, candidates: Candidates, seed: int) -> dict:
    """The settings that a selection records."""
    return {"strategy": strategy, **asdict(budget), "max_ifd": candidates.max_ifd, "seed": seed}

"""Select rows within one budget (`select`) or, quickly, within many (`Explorer`)."""

from dataclasses import asdict
from functools import cached_property

import datasets
import numpy as np

from .. import coverage
from ..core.errors import seed_of
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
    """Select the rows to train on (arXiv 2504.12687, section 3).

    The default keeps, in each cluster, the `int(n * 0.4)` rows with the highest IFD among its n eligible
    rows. A row is eligible if it has a score below `max_ifd`; from an IFD of 1 on, the instruction does not
    help the model.

    Args:
        ds: the table; needs the columns that the strategy reads.
        ratio: budget as a share in (0, 1], 0.4 by default. For "ifd-cluster", "ifd-top", "ppl-top" and
            "deita" it is a share of the eligible rows, rounded down, within each cluster for "ifd-cluster".
            For the others it is a share of all rows.
        strategy: how rows are ranked, one of these or any registered with `wb.strategy`.
            "ifd-cluster": the paper's rule; needs `ifd` and `cluster`.
            "ifd-quota": highest IFD in each cluster, and of each cluster its share of all rows; needs both.
            "ifd-top": highest IFD, whatever the cluster; needs `ifd`.
            "ppl-top": highest perplexity of the response given the instruction, among eligible rows.
            "random": any rows, scored or not; needs no column.
            "random-tokens": random rows with as many tokens as "ifd-cluster" keeps within this budget.
            "deita": highest IFD, skipping rows with a cosine similarity of 0.9 or more to a kept one; needs
            `ifd` and `embedding`.
            "k-center", "facility-location", "parametric": cover the embedding space and ignore scores; need
            `embedding`.
        rows: budget as a number of rows, filled in the strategy's order; with clusters, in the order in which
            rows enter as the ratio grows.
        tokens: budget as a number of training tokens (column `n_tokens`), filled in the same order up to the
            first row that would exceed it.
        max_ifd: upper bound, exclusive, of an eligible row's IFD.
        seed: of the strategies that draw.
        candidates: `selection.Candidates(ds, max_ifd)`, to read the columns once for several calls; its
            `max_ifd` takes precedence.

    Returns:
        A `Selection`: `.indices` (int64, ascending), `.dataset`, `.dropped` (row -> reason), `.report` and
        `.coverage`. It keeps fewer rows than the budget where the strategy has no more to offer.

    Raises:
        UserError: the strategy is unknown, a column that it needs is missing, more than one budget is given,
            or the budget, `max_ifd` or `seed` is out of range.

    Not covered: whether a model trained on the selection beats chance. Compare with random selections
    (`wb.compare`), train on both with several seeds.
    """
    budget, seed = budget_of(ratio, rows, tokens), seed_of(seed)
    chosen = strategy_for(ds, strategy, uses_tokens=tokens is not None)
    candidates = candidates or Candidates(ds, max_ifd)
    ranking = chosen.ranking(candidates, budget, seed)
    kept = ranking.first(chosen.allot(candidates, ranking, budget))
    return Selection(ds, np.sort(kept), candidates, _settings(strategy, budget, candidates, seed))


class Explorer:
    """Selections of `ds` by one strategy within any budget, fast enough for a slider.

    >>> explorer = wb.Explorer(ds)
    >>> explorer.at(0.4).coverage.mmd

    Selections and numbers equal those of `wb.select`. The first call ranks the rows and sums their features;
    later calls take milliseconds. This holds for strategies registered as `nested`, whose order does not
    depend on the budget: those by IFD or perplexity, and the random ones. The others select and measure anew
    each time.

    Arguments and errors are those of `wb.select`.
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
        self.ds, self.seed = ds, seed_of(seed)
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

"""Many cuts of one table: what is slow is done once, so that a slider gets its numbers at once."""

from functools import cached_property

import datasets
import numpy as np

from .. import coverage
from .choose import find, settings_of
from .columns import Candidates, candidates_of
from .ranking import Ranking, budget_of
from .result import Selection


class Explorer:
    """Selections of `ds` by one strategy at any budget, with the numbers of `select` and nothing slow left.

    >>> explorer = Explorer(ds); explorer.at(0.4).coverage.mmd

    The first cut ranks the rows and sums their features once. That works for strategies whose order is the
    same whatever the budget (`nested` in the registry); the others choose and measure anew each time.
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
        self.strategy = find(ds, strategy)
        self.ds, self.seed = ds, seed
        self.candidates = candidates or candidates_of(ds, max_ifd)

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
        """The selection on this budget; see `select`."""
        budget = budget_of(ratio, rows, tokens)
        find(self.ds, self.strategy.name, uses_tokens=tokens is not None)
        nested = self.strategy.nested
        ranking = self._ranking if nested else self.strategy.ranking(self.candidates, budget, self.seed)
        counts = self.strategy.allot(self.candidates, ranking, budget)
        mask = np.zeros(len(self.candidates), bool)
        mask[ranking.first(counts)] = True
        settings = settings_of(self.strategy.name, budget, self.candidates, self.seed)
        sums = self._prefixes.sums(counts) if nested and self._prefixes else None
        return Selection(self.ds, np.flatnonzero(mask), self.candidates, settings, sums)

"""The strategies by name."""

from collections.abc import Callable
from dataclasses import dataclass

import datasets
import numpy as np

from ..core.errors import UserError, one_of
from .columns import Candidates
from .ranking import Budget, Ranking, proportional

Rank = Callable[[Candidates, int, np.random.Generator], "np.ndarray | list[np.ndarray]"]
Allot = Callable[[Candidates, Ranking, Budget], np.ndarray]

STRATEGIES: dict[str, "Strategy"] = {}


@dataclass(frozen=True)
class Strategy:
    """How rows are ranked, and how a budget is shared out among them; see `strategy` for the fields."""

    name: str
    rank: Rank
    needs: tuple[str, ...]
    pool: str
    of_all: bool
    allot: Allot
    nested: bool
    reason: str

    @property
    def ratio_of_all(self) -> bool:
        """A ratio is a share of all rows, not of the eligible ones."""
        return self.of_all or self.pool == "all"

    def ranking(self, candidates: Candidates, budget: Budget, seed: int) -> Ranking:
        """The rows in this strategy's order, as far as `budget` reaches."""
        pool = candidates.n_eligible if self.pool == "eligible" else len(candidates)
        found = self.rank(candidates, budget.of(pool), np.random.default_rng(seed))
        return self._checked(Ranking.of(found, pool), len(candidates))

    def _checked(self, ranking: Ranking, n: int) -> Ranking:
        """`ranking`, if it has no row twice and none beyond `n`."""
        rows = ranking.order
        if len(rows) and (rows.min() < 0 or rows.max() >= n or np.bincount(rows).max() > 1):
            raise UserError(
                f"strategy={self.name!r} returned a row twice or one beyond the {n} there are; return each "
                f"row number at most once."
            )
        return ranking


def strategy(
    name: str,
    *,
    needs: tuple[str, ...] = (),
    pool: str = "all",
    of_all: bool = False,
    allot: Allot = proportional,
    nested: bool = False,
    reason: str = "not chosen by {name}",
) -> Callable[[Rank], Rank]:
    """Register the decorated function as strategy `name`.

    >>> @strategy("shortest", needs=("n_tokens",), reason="longer than the kept ones")
    ... def shortest(candidates, n, rng):
    ...     return np.argsort(candidates.column("n_tokens"), kind="stable")

    The function gets the candidates, the number `n` of rows that the budget can reach, and a seeded random
    generator. It returns row numbers, the best first, `n` of them or more; or a list of such arrays, one a
    group, of each of which the budget takes its share.

    `needs`: columns that must be there. `pool`: "all" or "eligible", the rows that it ranks and of which a
    ratio is a share; `of_all`: the ratio is of all rows nevertheless. `allot`: how a budget becomes a number
    of rows of each group. `nested`: the order does not depend on `n` and costs no more for all rows, so that
    it can be kept while the ratio moves. `reason`: why a row is dropped; {name}, {ifd}, {cluster} are filled
    in.
    """

    one_of("pool", pool, ("all", "eligible"))

    def register(rank: Rank) -> Rank:
        STRATEGIES[name] = Strategy(name, rank, needs, pool, of_all, allot, nested, reason)
        return rank

    return register


def usable(ds: datasets.Dataset) -> list[str]:
    """The strategies whose columns `ds` has."""
    return [name for name, found in STRATEGIES.items() if set(found.needs) <= set(ds.column_names)]

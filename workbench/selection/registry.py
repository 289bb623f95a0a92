"""The registry of selection strategies, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import datasets
import numpy as np

from ..core import tables
from ..core.errors import UserError, one_of
from .budget import Budget
from .candidates import BAND, IFD, MAX_IFD, POOLS, Candidates, check_by, check_scores
from .ranking import Ranking, proportional

Rank = Callable[[Candidates, int, np.random.Generator], "np.ndarray | list[np.ndarray]"]
Allot = Callable[[Candidates, Ranking, Budget], np.ndarray]

STRATEGIES: dict[str, "Strategy"] = {}
SETTINGS = {"by": IFD, "lower": BAND[0], "upper": BAND[1]}  # of strategies, with their defaults
_STAGES = {"embedding": "wb.embed", "cluster": "wb.embed and wb.cluster"}  # all other columns: wb.score


@dataclass(frozen=True)
class Strategy:
    """A registered strategy; `strategy` describes the fields.

    `pool` names the rows it ranks and `ratio_pool` the rows that a ratio is a share of: "all" or "eligible".
    """

    name: str
    rank: Rank
    needs: tuple[str, ...]
    pool: str
    ratio_pool: str
    allot: Allot
    nested: bool
    reason: str
    settings: tuple[str, ...]

    def columns(self, by: str = IFD) -> tuple[str, ...]:
        """The columns it needs if column `by` ranks; unless it reads that setting, always `needs`."""
        if "by" not in self.settings:
            return self.needs
        return tuple(by if name == IFD else name for name in self.needs)

    def used(self, **settings) -> dict:
        """Those of `settings` (`by`, `lower`, `upper`) that it reads."""
        return {name: value for name, value in settings.items() if name in self.settings}

    def ranking(self, candidates: Candidates, budget: Budget, seed: int) -> Ranking:
        """Rank the rows, at least as many as `budget` can keep.

        Raises UserError if the strategy's function returns anything but distinct row numbers, int [r], or a
        list of such arrays. A list of ints is one array.
        """
        pool_size = int(candidates.pool(self.pool).sum())
        ranked = self.rank(candidates, budget.most_rows(pool_size), np.random.default_rng(seed))
        # An empty list has no groups: a table without rows has no clusters.
        grouped = isinstance(ranked, list) and (not ranked or any(np.ndim(group) for group in ranked))
        groups = [self._row_numbers(group) for group in (ranked if grouped else [ranked])]
        ranked = groups if grouped else groups[0]
        ranking, n = Ranking.of(ranked, pool_size), len(candidates)
        rows = ranking.order
        if len(rows) and (rows.min() < 0 or rows.max() >= n or np.bincount(rows).max() > 1):
            raise UserError(
                f"strategy={self.name!r} returned a row twice, or one outside of the dataset's {n} rows; "
                f"return each row number at most once."
            )
        return ranking

    def _row_numbers(self, ranked: object) -> np.ndarray:
        """Return one order of rows as an int array. Raises UserError for anything else."""
        rows = np.asarray(ranked)
        if rows.ndim == 1 and not len(rows):
            return rows.astype(np.int64)
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            returned = f"an array of shape {list(rows.shape)}" if rows.ndim > 1 else rows.dtype
            returned = "None" if ranked is None else returned
            raise UserError(
                f"strategy={self.name!r} returned {returned}, not row numbers; return integers [rows], or a "
                f"list of such arrays."
            )
        return rows.astype(np.int64)


def strategy(
    name: str,
    *,
    needs: tuple[str, ...] = (),
    pool: str = "all",
    of_all: bool = False,
    allot: Allot = proportional,
    nested: bool = False,
    reason: str = "not chosen by {name}",
    settings: tuple[str, ...] = (),
) -> Callable[[Rank], Rank]:
    """Register the decorated function as the selection strategy `name`, replacing your own of that name.

    >>> @wb.strategy("shortest", needs=("n_tokens",), reason="longer than the kept ones")
    ... def shortest(candidates, n, rng):
    ...     return np.argsort(candidates.column("n_tokens"), kind="stable")

    The function gets the `Candidates` (columns as arrays: `.ifd`, `.score`, `.cluster`, `.tokens`,
    `.embedding`, `.eligible`, `.column(name)`), the largest number `n` of rows that the budget can keep, and
    a seeded `np.random.Generator`. It returns row numbers, int [n or more], best first; or a list of such
    arrays, one per group, and a ratio then keeps its share of each group.

    Args:
        name: for `wb.select`, recipes and the dashboard.
        needs: columns that the function reads; `wb.select` raises UserError if one is missing.
        pool: the rows that it ranks and that a ratio is a share of: "all", or "eligible" for those with a
            score below `max_ifd`.
        of_all: with pool="eligible", make a ratio a share of all rows.
        allot: function (candidates, ranking, budget) -> rows to keep of each group, int [g].
        nested: whether the order is independent of `n` and costs the same for all rows; `wb.Explorer` then
            ranks once for all budgets.
        reason: why a row is dropped, for `Selection.dropped`. {name}, {ifd}, {cluster} and {score} (the score
            with its name) are filled in.
        settings: the settings of `wb.select` that the function reads. "by": it ranks by `candidates.score`,
            so a column named by the user may take the place of "ifd" in `needs`. "lower" and "upper": it
            reads `candidates.lower` and `.upper`.

    Raises:
        UserError: `pool` is neither "all" nor "eligible", `settings` has an unknown one, or `name` is that of
            a built-in strategy. What the function returns is checked on use.
    """
    one_of("pool", pool, POOLS)
    for setting in settings:
        one_of("settings", setting, SETTINGS)
    if _is_built_in(STRATEGIES.get(name)):
        raise UserError(f"name={name!r} is a built-in strategy; choose another name.")

    def register(rank: Rank) -> Rank:
        ratio_pool = "all" if of_all else pool
        STRATEGIES[name] = Strategy(name, rank, needs, pool, ratio_pool, allot, nested, reason, settings)
        return rank

    return register


def _is_built_in(registered: Strategy | None) -> bool:
    return registered is not None and registered.rank.__module__.startswith(f"{__package__}.")


def strategy_for(ds: datasets.Dataset, name: str, *, by: str = IFD, uses_tokens: bool = False) -> Strategy:
    """The strategy called `name`.

    Raises UserError if there is none, or if `ds` lacks a column that it or a token budget needs; if column
    `by` ranks, it must hold numbers.
    """
    one_of("strategy", name, STRATEGIES)
    chosen = STRATEGIES[name]
    if by != IFD and "by" in chosen.settings:
        check_by(ds, by)
    for column in (*chosen.columns(by), *(("n_tokens",) if uses_tokens else ())):
        tables.require(ds, [column], _STAGES.get(column, "wb.score"))
    return chosen


def check_settings(name: str, *, max_ifd: float = MAX_IFD, **settings) -> None:
    """Raise UserError if strategy `name` does not read one of `settings` that is not at its default.

    `settings` are `by`, `lower` and `upper`. Raises UserError, too, unless they and `max_ifd` are valid.
    """
    one_of("strategy", name, STRATEGIES)
    check_scores(max_ifd, **(SETTINGS | settings))
    for setting, value in settings.items():
        if value != SETTINGS[setting] and setting not in STRATEGIES[name].settings:
            readers = ", ".join(key for key, other in STRATEGIES.items() if setting in other.settings)
            raise UserError(
                f"{setting}={value!r} has no effect on strategy={name!r}; leave it out, or choose one of "
                f"{readers}."
            )


def usable(ds: datasets.Dataset, by: str = IFD) -> list[str]:
    """Names of the strategies whose columns `ds` has, if column `by` ranks."""
    columns = set(ds.column_names)
    return [name for name, registered in STRATEGIES.items() if columns.issuperset(registered.columns(by))]

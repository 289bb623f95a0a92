"""Selecting by hand: rows that are kept or dropped whatever a strategy says, and a filter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..core import tables
from ..core.errors import UserError, shown
from .budget import Budget
from .candidates import Candidates

BY_HAND = "by hand"


@dataclass(frozen=True, eq=False)
class Hand:
    """Rows kept, dropped and filtered by hand.

    `pinned` and `free` are bool [n]: rows that are kept in any case, and rows that the strategy selects from.
    `settings` are `keep`, `drop` and `where`, those that are not empty.
    """

    pinned: np.ndarray
    free: np.ndarray
    dropped: np.ndarray
    settings: dict

    def rest(self, budget: Budget, candidates: Candidates, pool: str) -> Budget | None:
        """What `budget` leaves for the free rows; None if that is nothing.

        A ratio is a share of the rows of `pool` that are pinned or free. Raises UserError if the pinned rows
        alone exceed a budget of rows or tokens.
        """
        if budget.ratio is not None:
            in_pool = candidates.pool(pool)
            free, n_pinned = int((self.free & in_pool).sum()), int(self.pinned.sum())
            room = budget.ratio * (free + int((self.pinned & in_pool).sum())) - n_pinned
            # A ratio is rounded down, so it must not fall short by a rounding error.
            return Budget(min(1.0, room / free + 1e-12)) if free and room > 0 else None
        name = "rows" if budget.rows is not None else "tokens"
        limit = getattr(budget, name)
        used = int(self.pinned.sum() if name == "rows" else candidates.tokens[self.pinned].sum())
        if used > limit:
            raise UserError(
                f"{name}={limit:,} is less than the {used:,} {name} of keep alone; raise the budget or keep "
                "fewer rows by hand."
            )
        return Budget(None, **{name: limit - used}) if used < limit and self.free.any() else None

    def reason(self, row: int) -> str | None:
        """Why `row` is dropped; None if it was left to the strategy."""
        if self.dropped[row]:
            return f"dropped {BY_HAND}"
        return None if self.free[row] else f"left out {BY_HAND}: not where {_words(self.settings['where'])}"


def hand_of(candidates: Candidates, keep=None, drop=None, where: Mapping | None = None) -> Hand | None:
    """The `Hand` of these arguments of `wb.select`; None if all are empty.

    Raises UserError if an id is unknown, ambiguous or in both lists, or if `where` names an unknown column.
    """
    keep, drop = _ids("keep", keep), _ids("drop", drop)
    if both := [name for name in keep if name in set(drop)]:
        raise UserError(f"id {both[0]!r} is in both keep and drop; take it out of one of them.")
    if not keep and not drop and not where:
        return None
    pinned, dropped = _rows("keep", keep, candidates), _rows("drop", drop, candidates)
    matching = _matching(candidates, where)
    settings = {"keep": keep, "drop": drop, "where": dict(where or {})}
    settings = {name: value for name, value in settings.items() if value}
    return Hand(pinned, matching & ~pinned & ~dropped, dropped, settings)


def _ids(name: str, ids) -> list[str]:
    if ids is None:
        return []
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise UserError(f"{name}={shown(ids)} must be a list of ids, values of the column `id`.")
    return list(dict.fromkeys(map(str, ids)))


def _rows(name: str, ids: list[str], candidates: Candidates) -> np.ndarray:
    """bool [n]: the rows with these ids."""
    mask = np.zeros(len(candidates), bool)
    if not ids:
        return mask
    tables.require(candidates.source, ["id"], "wb.load")
    rows = candidates.cached("rows by id", lambda: _rows_by_id(candidates.source["id"][:]))
    for identity in ids:
        places = rows.get(identity, [])
        if len(places) != 1:
            problem = "is no id of the dataset" if not places else f"names {len(places)} rows"
            raise UserError(
                f"{name}: {identity!r} {problem}; use the column `id`, e.g. {next(iter(rows))!r}."
            )
        mask[places] = True
    return mask


def _rows_by_id(ids: list) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, identity in enumerate(ids):
        rows.setdefault(str(identity), []).append(row)
    return rows


def _matching(candidates: Candidates, where: Mapping | None) -> np.ndarray:
    """bool [n]: the rows that match all of `where`."""
    mask = np.ones(len(candidates), bool)
    if where is None:
        return mask
    if not isinstance(where, Mapping):
        raise UserError(f"where={shown(where)} must map columns to values, e.g. {{'cluster': [0, 3]}}.")
    for column, wanted in where.items():
        if column not in candidates.source.column_names:
            names = ", ".join(candidates.source.column_names)
            raise UserError(f"where: {column!r} is not a column of the dataset; the columns are {names}.")
        values = wanted if isinstance(wanted, list | tuple | set) else [wanted]
        cells = candidates.source[column][:]
        mask &= np.array([cell in values for cell in cells], bool)
    if not mask.any():
        raise UserError(f"where: no row has {_words(where)}; take a condition away.")
    return mask


def _words(where: Mapping) -> str:
    return " and ".join(
        f"{column} is " + " or ".join(map(repr, value if isinstance(value, list | tuple | set) else [value]))
        for column, value in where.items()
    )

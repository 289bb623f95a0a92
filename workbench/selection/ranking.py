"""Ranked rows and a budget -> how many of each group to keep."""

from dataclasses import dataclass
from functools import cached_property
from numbers import Real

import numpy as np

from ..core.errors import UserError, positive


@dataclass(frozen=True)
class Budget:
    """How much to keep: a share in (0, 1], a number of rows, or of training tokens. One of them is given."""

    ratio: float | None
    rows: int | None = None
    tokens: int | None = None

    def of(self, n: int) -> int:
        """Rows to keep out of `n`, the share rounded down as the paper does; all that tokens may allow."""
        if self.ratio is not None:
            return int(n * self.ratio)
        return n if self.rows is None else min(n, self.rows)


@dataclass(frozen=True)
class Ranking:
    """`order` [r]: rows, group after group, the best of each first; group g begins at `starts[g]`.

    `sizes` [g]: the rows of which a ratio takes its share, for each group.
    """

    order: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, found: np.ndarray | list[np.ndarray], pool: int) -> "Ranking":
        """From what a strategy returns: an order of rows out of `pool`, or a list of orders, one a group."""
        groups = found if isinstance(found, list) else [found]
        sizes = np.array([len(group) for group in groups], int)
        for group in groups:
            if not np.issubdtype(group.dtype, np.integer):
                raise UserError(f"a strategy returned {group.dtype}, not row numbers; return integers.")
        order = np.concatenate([np.zeros(0, np.int64), *groups])
        starts = np.concatenate([[0], np.cumsum(sizes)])
        return cls(order, starts, sizes if isinstance(found, list) else np.array([pool]))

    def first(self, counts: np.ndarray) -> np.ndarray:
        """The first `counts[g]` rows of each group."""
        taken = [self.order[start : start + n] for start, n in zip(self.starts[:-1], counts, strict=True)]
        return np.concatenate([self.order[:0], *taken])

    @cached_property
    def entry(self) -> np.ndarray:
        """Places of `order` as a growing ratio lets rows in: by rank over group size, groups in order."""
        lengths = np.diff(self.starts)
        rank = np.arange(len(self.order)) - np.repeat(self.starts[:-1], lengths)
        return np.argsort((rank + 1) / np.repeat(lengths, lengths), kind="stable")

    def counts_of(self, n: int) -> np.ndarray:
        """[g] rows of each group among the first `n` that a growing ratio lets in."""
        group = np.searchsorted(self.starts, self.entry[:n], side="right") - 1
        return np.bincount(group, minlength=len(self.starts) - 1)


def within_tokens(tokens: np.ndarray, budget: int) -> int:
    """How many of the first rows fit into `budget` tokens; it ends before the first row that would not."""
    return int(np.searchsorted(np.cumsum(tokens), budget, side="right"))


def proportional(candidates, ranking: Ranking, budget: Budget) -> np.ndarray:
    """The paper's share: `int(size * ratio)` of each group. Rows and tokens: as a growing ratio adds rows."""
    if budget.ratio is not None:
        share = (ranking.sizes * budget.ratio).astype(int)
        return np.minimum(share, np.diff(ranking.starts))
    if budget.rows is not None:
        return ranking.counts_of(budget.rows)
    tokens = candidates.tokens[ranking.order[ranking.entry]]
    return ranking.counts_of(within_tokens(tokens, budget.tokens))


def budget_of(ratio: float | None, rows: int | None, tokens: int | None) -> Budget:
    """The one budget that is given; a ratio of 0.4, the paper's, where none is."""
    given = {"ratio": ratio, "rows": rows, "tokens": tokens}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) > 1:
        named = " and ".join(f"{name}={value}" for name, value in given.items())
        raise UserError(f"{named} are {len(given)} budgets; give one of them.")
    for name, value in (("rows", rows), ("tokens", tokens)):
        if value is not None:
            positive(name, value)
            return Budget(None, **{name: value})
    return Budget(check_ratio(0.4 if ratio is None else ratio))


def check_ratio(ratio: float) -> float:
    """`ratio` if it is a share in (0, 1]."""
    if isinstance(ratio, bool) or not isinstance(ratio, Real) or not 0 < ratio <= 1:
        raise UserError(
            f"ratio={ratio!r} must be above 0 and at most 1: 0.4 keeps 40 % of the eligible rows."
        )
    return float(ratio)

"""From ranked rows and a budget to the number of rows kept from each group."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .budget import Budget
from .candidates import Candidates


@dataclass(frozen=True, eq=False)
class Ranking:
    """Rows ranked in groups; a strategy without clusters has one group.

    `order` is int64 [r]: row numbers, group after group, best first within each. Group g starts at
    `starts[g]` of int64 [g + 1]. `sizes`, int64 [g], is the number of rows that a ratio is a share of.
    """

    order: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, ranked: np.ndarray | list[np.ndarray], pool_size: int) -> "Ranking":
        """From what a strategy returns: one order out of `pool_size` rows, or a list of one per group."""
        groups = ranked if isinstance(ranked, list) else [ranked]
        lengths = np.array([len(group) for group in groups], int)
        order = np.concatenate([np.zeros(0, np.int64), *groups])
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return cls(order, starts, lengths if isinstance(ranked, list) else np.array([pool_size]))

    def first(self, counts: np.ndarray) -> np.ndarray:
        """The first `counts[g]` rows of each group g."""
        kept = [self.order[start : start + n] for start, n in zip(self.starts[:-1], counts, strict=True)]
        return np.concatenate([self.order[:0], *kept])

    @cached_property
    def entry(self) -> np.ndarray:
        """Positions in `order`, sorted by the ratio at which each row enters: rank / group size."""
        lengths = np.diff(self.starts)
        rank = np.arange(len(self.order)) - np.repeat(self.starts[:-1], lengths)
        return np.argsort((rank + 1) / np.repeat(lengths, lengths), kind="stable")

    def counts_of(self, n: int) -> np.ndarray:
        """int [g]: rows of each group among the first `n` that enter as the ratio grows."""
        group = np.searchsorted(self.starts, self.entry[:n], side="right") - 1
        return np.bincount(group, minlength=len(self.starts) - 1)


def proportional(candidates: Candidates, ranking: Ranking, budget: Budget) -> np.ndarray:
    """Rows to keep of each group, int [g], by the paper's rule: `int(size * ratio)`.

    A budget of rows or tokens is filled in the order in which rows enter as the ratio grows. A token budget
    stops before the first row that would exceed it.
    """
    if budget.ratio is not None:
        share = (ranking.sizes * budget.ratio).astype(int)
        return np.minimum(share, np.diff(ranking.starts))
    if budget.rows is not None:
        return ranking.counts_of(budget.rows)
    spent = np.cumsum(candidates.tokens[ranking.order[ranking.entry]])
    return ranking.counts_of(int(np.searchsorted(spent, budget.tokens, side="right")))


def quota(candidates: Candidates, ranking: Ranking, budget: Budget) -> np.ndarray:
    """Rows to keep of each cluster, int [g], in proportion to its share of all rows, scored or not.

    Rounded by largest remainder, with at least one row per cluster where the budget allows. What a cluster
    cannot fill with eligible rows goes to the others in proportion. A token budget is `proportional`.
    """
    if budget.tokens is not None:
        return proportional(candidates, ranking, budget)
    eligible = np.diff(ranking.starts)
    target = budget.rows if budget.ratio is None else round(budget.ratio * len(candidates))
    rows = min(target, int(eligible.sum()))
    least = np.minimum(eligible, 1) if rows >= np.count_nonzero(eligible) else np.zeros_like(eligible)
    return largest_remainder(candidates.clusters.counts(), rows, least, eligible)


def largest_remainder(weights: np.ndarray, n: int, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Apportion `n` seats to `weights` [g] by largest remainder (Hamilton's method); ties go to the first.

    Each entry gets between `least[g]` and `most[g]` seats, where least.sum() <= n <= most.sum().
    """
    # Bisect the seats per unit of weight until the bounded quotas sum to n.
    low, high = 0.0, float(n + most.max(initial=0) + 1)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * weights, least, most).sum() < n else (low, middle)
    quotas = np.clip(high * weights, least, most)
    seats = np.floor(quotas + 1e-9).astype(int)
    by_remainder = np.argsort(-np.round(quotas - seats, 9), kind="stable")
    by_remainder = by_remainder[seats[by_remainder] < most[by_remainder]]
    seats[by_remainder[: n - seats.sum()]] += 1
    return seats

"""Strategies side by side at equal budget: what they share, what only one keeps, and whether chance does it.

A number means little alone: random selections of the same size show how far it moves by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import datasets
import numpy as np
import pandas as pd

from ..core import progress
from ..core.errors import UserError, one_of, positive
from . import Selection, candidates_of, select


@dataclass(frozen=True)
class Comparison:
    """`selections` by name of their strategy, and the `draws`: random selections of as many rows."""

    selections: dict[str, Selection]
    draws: list[dict]  # the numbers of each

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A line for each number, a column for each strategy and for the random draws' `random 5 %`, `random
        median` and `random 95 %`; NaN where there is none. `Report` and `Coverage` say what they mean."""
        table = pd.DataFrame({name: found.numbers for name, found in self.selections.items()}, dtype=float)
        draws = pd.DataFrame(self.draws, dtype=float)
        for name, q in (("random 5 %", 0.05), ("random median", 0.5), ("random 95 %", 0.95)):
            table[name] = draws.quantile(q)
        return table

    @cached_property
    def overlap(self) -> pd.DataFrame:
        """Jaccard index of each two strategies: rows that both keep over rows that either keeps."""
        return self._pairs(lambda a, b: (a & b).sum() / max(1, (a | b).sum()))

    @cached_property
    def shared(self) -> pd.DataFrame:
        """Share (0 to 1) of the line's rows that the column's strategy keeps, too."""
        return self._pairs(lambda a, b: (a & b).sum() / max(1, a.sum()))

    def _pairs(self, measure) -> pd.DataFrame:
        names = list(self.selections)
        masks = [found.mask for found in self.selections.values()]
        return pd.DataFrame([[float(measure(a, b)) for b in masks] for a in masks], names, names)

    def only(self, name: str) -> datasets.Dataset:
        """The rows that strategy `name` keeps and no other of the comparison does."""
        one_of("name", name, self.selections)
        found = self.selections[name]
        others = [other.mask for key, other in self.selections.items() if key != name]
        return found.source.select(np.flatnonzero(found.mask & ~np.any(others, axis=0)))


def compare(
    ds: datasets.Dataset,
    strategies: Sequence[str],
    ratio: float | None = None,
    *,
    rows: int | None = None,
    tokens: int | None = None,
    max_ifd: float = 1.0,
    seed: int = 0,
    draws: int = 20,
) -> Comparison:
    """Choose rows of `ds` by each of `strategies`, and at random `draws` times.

    Budgets are those of `wb.select`. With a `ratio` the first strategy sets the number of rows, the others
    keep as many, because strategies take the ratio of different rows. "random-tokens" keeps the tokens of so
    many rows of "ifd-cluster", "deita" fewer where it runs out of new ones. The draws have as many rows as
    the first.
    """
    if isinstance(strategies, str) or len(set(strategies)) < 2:
        raise UserError(f"strategies={strategies!r} must be a list of two or more different names.")
    shared = {"max_ifd": max_ifd, "candidates": candidates_of(ds, max_ifd)}
    first, *others = dict.fromkeys(strategies)
    found = {first: select(ds, ratio, first, rows=rows, tokens=tokens, seed=seed, **shared)}
    size = len(found[first].indices)
    if not size:
        raise UserError(f"strategy={first!r} keeps none of the {len(ds)} rows on this budget; raise it.")
    same = {"rows": size} if tokens is None else {"tokens": tokens}
    for name in others:
        found[name] = select(ds, strategy=name, seed=seed, **same, **shared)
    return Comparison(found, _drawn(found[first], draws, seed))


def beside_random(selection: Selection, draws: int = 20) -> Comparison:
    """One selection and random draws of as many rows."""
    name, seed = selection.settings["strategy"], selection.settings["seed"]
    return Comparison({name: selection}, _drawn(selection, draws, seed))


def _drawn(like: Selection, draws: int, seed: int) -> list[dict]:
    """The numbers of random selections of as many rows as `like`."""
    positive("draws", draws)
    rows, numbers = len(like.indices), []
    with progress.bar(draws, "random", "draw") as bar:
        for draw in range(draws):
            # Seeds of their own: `seed` is that of a "random" among the strategies.
            drawn = select(
                like.source, rows=rows, strategy="random", seed=seed + 1 + draw, candidates=like.candidates
            )
            numbers.append(drawn.numbers)
            bar.update(1)
    return numbers

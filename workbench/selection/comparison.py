"""Strategies side by side at equal budget, and beside random selections of the same size.

Random draws show how far each number moves by chance alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import datasets
import numpy as np
import pandas as pd

from ..core import progress
from ..core.errors import UserError, derived_seed, one_of, positive, shown
from .candidates import BAND, IFD, Candidates, check_scores
from .registry import STRATEGIES, check_settings
from .selection import Selection
from .selector import select

_MOST_DRAWS = 1000  # more would not narrow the range that the middle 90 % of them show


@dataclass(frozen=True, eq=False)
class Comparison:
    """Selections by strategy name, and the numbers of random draws of the same size.

    `draws` holds `Selection.numbers` of each draw.
    """

    selections: dict[str, Selection]
    draws: list[dict]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row per number, a column per strategy, and the quantiles of the random draws.

        Those columns are `random 5 %`, `random median` and `random 95 %`. Missing numbers are NaN. `Report`
        and `coverage.Coverage` define the numbers and their units.
        """
        table = pd.DataFrame({name: sel.numbers for name, sel in self.selections.items()}, dtype=float)
        draws = pd.DataFrame(self.draws, dtype=float)
        for name, q in (("random 5 %", 0.05), ("random median", 0.5), ("random 95 %", 0.95)):
            table[name] = draws.quantile(q)
        return table

    @cached_property
    def overlap(self) -> pd.DataFrame:
        """Jaccard index of each pair of strategies: rows kept by both over rows kept by either."""
        return self._pairs(lambda a, b: (a & b).sum() / max(1, (a | b).sum()))

    @cached_property
    def shared(self) -> pd.DataFrame:
        """Share (0 to 1) of the rows kept by the row's strategy that the column's strategy keeps too."""
        return self._pairs(lambda a, b: (a & b).sum() / max(1, a.sum()))

    def _pairs(self, measure) -> pd.DataFrame:
        names = list(self.selections)
        masks = [sel.mask for sel in self.selections.values()]
        return pd.DataFrame([[float(measure(a, b)) for b in masks] for a in masks], names, names)

    def only(self, name: str) -> datasets.Dataset:
        """The rows that strategy `name` alone keeps. Raises UserError if it is not compared."""
        one_of("name", name, self.selections)
        sel = self.selections[name]
        others = [other.mask for key, other in self.selections.items() if key != name]
        return sel.source.select(np.flatnonzero(sel.mask & ~np.any(others, axis=0)))


def compare(
    ds: datasets.Dataset,
    strategies: Sequence[str],
    ratio: float | None = None,
    *,
    rows: int | None = None,
    tokens: int | None = None,
    max_ifd: float = 1.0,
    by: str = IFD,
    lower: float = BAND[0],
    upper: float = BAND[1],
    seed: int = 0,
    draws: int = 20,
) -> Comparison:
    """Select rows of `ds` with each of `strategies` at equal budget, and at random `draws` times.

    A ratio is a share of different rows for different strategies. It therefore sets the number of rows of the
    first strategy, and the others keep as many. Two differ: "random-tokens" keeps the tokens of that many
    rows of "ifd-cluster", and "deita" keeps fewer if it runs out of dissimilar rows.

    Args:
        strategies: two or more names.
        ratio, rows, tokens, max_ifd, by, lower, upper, seed: as in `wb.select`. With `tokens`, that is
            everyone's budget. Strategies that read no `by`, `lower` or `upper` ignore them.
        draws: number of random selections (1 to 1,000), each of as many rows as the first strategy keeps.

    Returns:
        A `Comparison`: `.metrics`, `.overlap`, `.shared` (tables) and `.only(name)`. A number outside of
        "random 5 %" to "random 95 %" is more than chance.

    Raises:
        UserError: `strategies` are not two or more different names, or the first one keeps no row; else as in
            `wb.select`.

    Not covered: how models trained on the selections compare.
    """
    named = isinstance(strategies, (list, tuple)) and all(isinstance(name, str) for name in strategies)
    if not named or len(set(strategies)) < 2:
        raise UserError(
            f"strategies={shown(strategies)} must be a list of two or more different names of strategies."
        )
    positive("draws", draws, most=_MOST_DRAWS)
    check_scores(max_ifd, by, lower, upper)
    if by != IFD and not any("by" in STRATEGIES[name].settings for name in strategies if name in STRATEGIES):
        check_settings(strategies[0], by=by)
    shared = {"candidates": Candidates(ds, max_ifd, by, lower, upper)}
    first, *others = dict.fromkeys(strategies)
    selections = {first: select(ds, ratio, first, rows=rows, tokens=tokens, seed=seed, **shared)}
    n_kept = len(selections[first].indices)
    if not n_kept:
        raise UserError(f"strategy={first!r} keeps none of the {len(ds)} rows within this budget; raise it.")
    budget = {"rows": n_kept} if tokens is None else {"tokens": tokens}
    for name in others:
        selections[name] = select(ds, strategy=name, seed=seed, **budget, **shared)
    return Comparison(selections, _random_draws(selections[first], draws, seed))


def beside_random(selection: Selection, draws: int = 20) -> Comparison:
    """Compare one selection with random draws of as many rows."""
    positive("draws", draws, most=_MOST_DRAWS)
    name, seed = selection.settings["strategy"], selection.settings["seed"]
    return Comparison({name: selection}, _random_draws(selection, draws, seed))


def _random_draws(like: Selection, draws: int, seed: int) -> list[dict]:
    """The numbers of `draws` random selections of as many rows as `like`."""
    rows, numbers = len(like.indices), []
    with progress.bar(draws, "random", "draw") as bar:
        for draw in range(draws):
            # `seed` itself is that of a "random" among the compared strategies.
            drawn = select(
                like.source,
                rows=rows,
                strategy="random",
                seed=derived_seed(seed, 1 + draw),
                candidates=like.candidates,
            )
            numbers.append(drawn.numbers)
            bar.update(1)
    return numbers

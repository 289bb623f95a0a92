"""One selection: a strategy, a budget, and the rows that they keep."""

from dataclasses import asdict

import datasets
import numpy as np

from ..core import tables
from ..core.errors import one_of
from .columns import Candidates, candidates_of
from .ranking import Budget, budget_of
from .registry import STRATEGIES, Strategy
from .result import Selection

_MADE_BY = {"embedding": "wb.embed", "cluster": "wb.embed and wb.cluster"}


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
    """Choose rows of `ds` by `strategy`: a `ratio` in (0, 1] (0.4 unless given), a number of `rows`, or as
    many as fit into `tokens` training tokens.

    For strategies by IFD the ratio is of the eligible rows, those with a score below `max_ifd`: from 1 on the
    instruction hurts (arXiv 2504.12687, section 3); for the others and for "ifd-quota" it is of all rows. A
    number of rows or tokens is filled in the strategy's order; with clusters, as a growing ratio lets rows
    in, and tokens end before the first row that would pass them. `seed` matters to strategies that draw.
    `candidates` (from `candidates_of`) saves reading the columns again when many ratios are tried.
    """
    budget = budget_of(ratio, rows, tokens)
    chosen = find(ds, strategy, uses_tokens=tokens is not None)
    candidates = candidates or candidates_of(ds, max_ifd)
    ranking = chosen.ranking(candidates, budget, seed)
    kept = ranking.first(chosen.allot(candidates, ranking, budget))
    return Selection(ds, np.sort(kept), candidates, settings_of(strategy, budget, candidates, seed))


def settings_of(strategy: str, budget: Budget, candidates: Candidates, seed: int) -> dict:
    """What a selection was made with."""
    return {"strategy": strategy, **asdict(budget), "max_ifd": candidates.max_ifd, "seed": seed}


def find(ds: datasets.Dataset, strategy: str, uses_tokens: bool = False) -> Strategy:
    """The strategy of that name, if `ds` has its columns."""
    one_of("strategy", strategy, STRATEGIES)
    found = STRATEGIES[strategy]
    for column in (*found.needs, *(("n_tokens",) if uses_tokens else ())):
        tables.require(ds, [column], _MADE_BY.get(column, "wb.score"))
    return found

"""Select rows within one budget (`select`) or, quickly, within many (`Explorer`)."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cached_property

import datasets
import numpy as np

from .. import coverage
from ..core.errors import UserError, seed_of, shown
from .budget import Budget, budget_of
from .candidates import BAND, IFD, Candidates
from .hand import Hand, hand_of
from .ranking import Ranking
from .registry import Strategy, check_settings, strategy_for
from .selection import Selection


def select(
    ds: datasets.Dataset,
    ratio: float | None = None,
    strategy: str = "ifd-cluster",
    *,
    rows: int | None = None,
    tokens: int | None = None,
    max_ifd: float = 1.0,
    by: str = IFD,
    lower: float = BAND[0],
    upper: float = BAND[1],
    seed: int = 0,
    keep: Iterable[str] | None = None,
    drop: Iterable[str] | None = None,
    where: Mapping | None = None,
    candidates: Candidates | None = None,
) -> Selection:
    """Select the rows to train on (arXiv 2504.12687, section 3).

    The default keeps, in each cluster, the `int(n * 0.4)` rows with the highest IFD among its n eligible
    rows. A row is eligible if it has a score below `max_ifd`; from an IFD of 1 on, the instruction does not
    help the model.

    Args:
        ds: the table; needs the columns that the strategy reads.
        ratio: budget as a share in (0, 1], 0.4 by default. For "ifd-cluster", "ifd-band", "cluster-random",
            "ifd-top", "ppl-top" and "deita" it is a share of the eligible rows, rounded down, within each
            cluster for the first three. For the others it is a share of all rows.
        strategy: how rows are ranked, one of these or any registered with `wb.strategy`.
            "ifd-cluster": the paper's rule; needs `ifd` and `cluster`.
            "ifd-quota": highest IFD in each cluster, and of each cluster its share of all rows; needs both.
            "ifd-top": highest IFD, whatever the cluster; needs `ifd`.
            "ifd-band": random rows of each cluster whose IFD lies between two quantiles, as many as
            "ifd-cluster" keeps if the band has them; needs both.
            "cluster-random": random eligible rows of each cluster, as many as "ifd-cluster" keeps; needs
            both.
            "ppl-top": highest perplexity of the response given the instruction, among eligible rows.
            "random": any rows, scored or not; needs no column.
            "random-tokens": random rows with as many tokens as "ifd-cluster" keeps within this budget.
            "longest": most training tokens, scored or not; needs `n_tokens`.
            "deita": highest IFD, skipping rows with a cosine similarity of 0.9 or more to a kept one; needs
            `ifd` and `embedding`.
            "k-center", "facility-location", "parametric": cover the embedding space and ignore scores; need
            `embedding`.
        rows: budget as a number of rows, filled in the strategy's order; with clusters, in the order in which
            rows enter as the ratio grows.
        tokens: budget as a number of training tokens (column `n_tokens`), filled in the same order up to the
            first row that would exceed it.
        max_ifd: upper bound, exclusive, of an eligible row's IFD.
        by: a numeric column in place of IFD, for the strategies that rank by IFD, and for "random-tokens" and
            "cluster-random". Highest first, so negate a column of which the lowest values are best. Rows with
            a value are then eligible, whatever their IFD; rows without one are dropped.
        lower, upper: of "ifd-band", quantiles of the score among the eligible rows of a cluster.
        seed: of the strategies that draw.
        keep: ids (column `id`) of rows that are kept whatever the strategy says. The budget counts them. A
            ratio keeps all of them even if it is smaller.
        drop: ids of rows that are left out.
        where: column -> value or list of values. The strategy selects among the rows that match all of them,
            and a ratio is a share of these rows; rows of `keep` need not match.
        candidates: `selection.Candidates(ds)`, to read the columns once for several calls; its `max_ifd`,
            `by`, `lower` and `upper` take precedence.

    Returns:
        A `Selection`: `.indices` (int64, ascending), `.dataset`, `.dropped` (row -> reason), `.report` and
        `.coverage`. It keeps fewer rows than the budget where the strategy has no more to offer.

    Raises:
        UserError: the strategy is unknown, a column that it needs is missing, column `by` does not hold
            finite numbers, more than one budget is given, a setting is given that the strategy does not read,
            an id is unknown or in both `keep` and `drop`, `keep` alone exceeds the budget, `where` names an
            unknown column or matches no row, or the budget, `max_ifd`, the band or `seed` is out of range.

    Not covered: whether a model trained on the selection beats chance. Compare with random selections
    (`wb.compare`), train on both with several seeds. The published evidence is divided. The paper gains 0.8
    points of pass@1 on average over training on all rows. With Llama-2-7B, arXiv 2503.01807 measures 38.7 for
    IFD against 40.9 for random rows at 10,000 of 200,000 rows, and 35.8 against 40.7 at 10,000 of 5.8
    million. arXiv 2605.12906 finds that coverage matters more than difficulty at small budgets.
    """
    budget, seed = budget_of(ratio, rows, tokens), seed_of(seed)
    candidates = _candidates(ds, strategy, candidates, max_ifd, by, lower, upper)
    chosen = strategy_for(ds, strategy, by=candidates.by, uses_tokens=tokens is not None)
    if hand_of(candidates, keep, drop, where):
        by_hand = {"keep": keep, "drop": drop, "where": where}
        explorer = Explorer(ds, strategy, seed=seed, candidates=candidates, **by_hand)
        return explorer.at(**asdict(budget))
    ranking = chosen.ranking(candidates, budget, seed)
    kept = ranking.first(chosen.allot(candidates, ranking, budget))
    return Selection(ds, np.sort(kept), candidates, _settings(chosen, budget, candidates, seed))


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
        by: str = IFD,
        lower: float = BAND[0],
        upper: float = BAND[1],
        seed: int = 0,
        keep: Iterable[str] | None = None,
        drop: Iterable[str] | None = None,
        where: Mapping | None = None,
        candidates: Candidates | None = None,
    ):
        self.candidates = _candidates(ds, strategy, candidates, max_ifd, by, lower, upper)
        self.strategy = strategy_for(ds, strategy, by=self.candidates.by)
        self.ds, self.seed = ds, seed_of(seed)
        self.hand = hand_of(self.candidates, keep, drop, where)

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
        strategy_for(self.ds, self.strategy.name, by=self.candidates.by, uses_tokens=tokens is not None)
        if self.hand:
            return self._by_hand(self.hand, budget)
        nested = self.strategy.nested
        ranking = self._ranking if nested else self.strategy.ranking(self.candidates, budget, self.seed)
        counts = self.strategy.allot(self.candidates, ranking, budget)
        mask = np.zeros(len(self.candidates), bool)
        mask[ranking.first(counts)] = True
        settings = _settings(self.strategy, budget, self.candidates, self.seed)
        sums = self._prefixes.sums(counts) if nested and self._prefixes else None
        return Selection(self.ds, np.flatnonzero(mask), self.candidates, settings, sums)

    def _by_hand(self, hand: Hand, budget: Budget) -> Selection:
        """The pinned rows and, within the rest of `budget`, a selection of the free ones."""
        kept = np.flatnonzero(hand.pinned)
        rest = hand.rest(budget, self.candidates, self.strategy.ratio_pool)
        if rest is not None:
            kept = np.sort(np.append(kept, np.flatnonzero(hand.free)[self._free.at(**asdict(rest)).indices]))
        settings = _settings(self.strategy, budget, self.candidates, self.seed) | hand.settings
        return Selection(self.ds, kept, self.candidates, settings, hand=hand)

    @cached_property
    def _free(self) -> "Explorer":
        """Selections of the free rows alone."""
        candidates = self.candidates.of(np.flatnonzero(self.hand.free))
        return Explorer(candidates.source, self.strategy.name, seed=self.seed, candidates=candidates)


def _candidates(
    ds: datasets.Dataset, strategy: str, given: Candidates | None, max_ifd: float, *settings
) -> Candidates:
    """`given`, or the candidates of `ds` with these settings: `by`, `lower` and `upper`."""
    by, lower, upper = settings
    check_settings(strategy, max_ifd=max_ifd, by=by, lower=lower, upper=upper)
    if given is not None and not isinstance(given, Candidates):
        raise UserError(f"candidates={shown(given)} must be `selection.Candidates(ds)`, or None.")
    if given is not None and given.source is not ds and given.source._fingerprint != ds._fingerprint:
        raise UserError(
            f"candidates are the {len(given):,} rows of another table than ds ({len(ds):,} rows); make "
            f"them anew with `selection.Candidates(ds)`."
        )
    return given or Candidates(ds, max_ifd, by, lower, upper)


def _settings(strategy: Strategy, budget: Budget, candidates: Candidates, seed: int) -> dict:
    """The settings that a selection records."""
    used = strategy.used(by=candidates.by, lower=candidates.lower, upper=candidates.upper)
    settings = {"strategy": strategy.name, **asdict(budget), "max_ifd": candidates.max_ifd, "seed": seed}
    return settings | used

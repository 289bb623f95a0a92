"""What the dashboard shows: settings, and the selection and the packing plans that follow from them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import datasets
import numpy as np

from .. import packing, selection
from ..core import tables
from ..core.errors import UserError, one_of, positive
from ..packing import PackPlan
from ..selection import STRATEGIES, Candidates, Explorer, Selection, strategy_for
from ..space import naming
from ..space.clustering import cluster
from .tasks import Debounced, ErrorPanel

UNITS = ("ratio", "rows", "tokens")
_MADE_BY = {
    ("ifd", "n_tokens"): "wb.score",
    ("cluster",): "wb.embed and wb.cluster",
    ("x", "y"): "wb.project",
}


class Cost(Protocol):
    """What a training takes."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Settings:
    """`amount` is in `unit`: a share in (0, 1], rows, or tokens. `k` clusters; null: as the table has
    them. `max_length` in tokens, `batch_size` in samples."""

    strategy: str = "ifd-cluster"
    unit: str = "ratio"
    amount: float = 0.4
    k: int | None = None
    max_length: int = 2048
    packing: str = "dynamic"
    batch_size: int = 16
    seed: int = 0

    @property
    def budget(self) -> dict[str, float]:
        """As `wb.select` takes it."""
        return {self.unit: self.amount}


class State:
    """Settings, and what follows from them; every panel reads it and is told when it changes.

    `ds` is the table with the clusters that are in force, `selection` what is kept of it, `plan` how that is
    packed. `set(ratio=0.3)` or `set(strategy="random")` change it. Listeners of `on_change` hear each step of
    a slider; those of `on_settle` once it rests, which is also when slow strategies and new clusters are
    computed. `before` and `plan_before` are what they were at the rest before the last move.
    """

    def __init__(self, ds: datasets.Dataset, *, errors: ErrorPanel | None = None, **settings):
        for columns, stage in _MADE_BY.items():
            tables.require(ds, columns, stage)
        if not len(ds):
            raise UserError("the dataset has no rows to look at.")
        self.errors = errors or ErrorPanel()
        self.given = self.ds = ds
        self.given_k = len(np.unique(tables.array(ds, "cluster")))
        self.now = _checked(Settings(), ds, settings)
        self.predict: Callable[[PackPlan], Cost] | None = None
        self._changed: list[Callable[[], None]] = []
        self._settled: list[Callable[[], None]] = []
        self._busy: list[Callable[[str], None]] = []
        self.plan_before: PackPlan | None = None
        self._resting, self._may_pack, self._plans = True, False, {}
        self._lengths = tables.array(ds, "n_tokens")
        self._prepare()
        self.selection: Selection = self._select()
        self.before: Selection | None = None
        self._rest = Debounced(self.errors.guard(self._follow, clear=False))

    def set(self, **changes) -> None:
        """Change settings by name: `ratio`, `rows`, `tokens`, or a field of `Settings`."""
        old, new = self.now, _checked(self.now, self.given, changes)
        if self._resting:
            self._resting, self.before, self.plan_before = False, self.selection, self.plan
        self.now = new
        as_before = (new.strategy, new.k) == (old.strategy, old.k)
        if as_before and new.budget != old.budget and STRATEGIES[new.strategy].nested:
            self._choose()
        self._rest()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` with each new selection."""
        self._changed.append(listener)

    def on_settle(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the settings have come to rest."""
        self._settled.append(listener)

    def on_busy(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with what takes a while, and with "" when it is done."""
        self._busy.append(listener)

    def price(self, predict: Callable[[PackPlan], Cost] | None) -> None:
        """From now on `predict` tells what training on a plan takes; null: nobody does."""
        self.predict = predict
        self._tell()

    def touch(self) -> None:
        """Compute and tell what was put off until after the first picture."""
        self._rest()

    @property
    def plan(self) -> PackPlan | None:
        """How `selection` is packed; null until the first rest, because packing compiles when it is first
        used."""
        return self.plan_of(self.now.packing) if self._may_pack else None

    def plan_of(self, strategy: str) -> PackPlan:
        """How `strategy` packs `selection`."""
        now = self.now
        key = (strategy, now.max_length, now.batch_size, now.seed)
        if key not in self._plans:
            lengths = self._lengths[self.selection.indices]
            self._plans[key] = packing.pack(
                lengths, now.max_length, strategy, batch_size=now.batch_size, seed=now.seed
            )
        return self._plans[key]

    def settings(self) -> dict[str, dict | None]:
        """The arguments of the calls that give the same numbers: of `wb.cluster` (null where the table's own
        clusters are used), `wb.select` and `wb.pack`."""
        now = self.now
        return {
            "cluster": None if now.k is None else {"k": now.k, "seed": self._cluster_seed},
            "select": {
                **now.budget,
                "strategy": now.strategy,
                "max_ifd": self.selection.candidates.max_ifd,
                "seed": now.seed,
            },
            "pack": {
                "max_length": now.max_length,
                "strategy": now.packing,
                "batch_size": now.batch_size,
                "seed": now.seed,
            },
        }

    @property
    def _cluster_seed(self) -> int:
        return tables.noted(self.given, "cluster").get("seed", 42)

    def _prepare(self) -> None:
        """What follows from the clusters alone."""
        self.clustered_by = self.now.k
        k = self.clustered_by
        self.ds = self.given if k is None else cluster(self.given, k, seed=self._cluster_seed)
        self.candidates = Candidates(self.ds)
        self.names = naming.cluster_names(self.ds) if "instruction" in self.ds.column_names else None
        self._explorer: Explorer | None = None

    def _select(self) -> Selection:
        now = self.now
        if self._explorer is None or self._explorer.strategy.name != now.strategy:
            # One at a time: each holds some 160 MB.
            self._explorer = Explorer(self.ds, now.strategy, seed=now.seed, candidates=self.candidates)
        return self._explorer.at(**now.budget)

    def _choose(self) -> None:
        self.selection = self._select()
        self._plans.clear()
        self._tell()

    def _tell(self) -> None:
        for listener in self._changed:
            listener()

    def _follow(self) -> None:
        """What is too slow to move with the slider."""
        now = self.now
        try:
            if now.k != self.clustered_by:
                self._say(f"clustering {len(self.given):,} rows into {now.k or 'their own'} ...")
                self._prepare()
            chosen = self.selection.settings
            if (chosen["strategy"], chosen[now.unit]) != (now.strategy, now.amount) or (
                self.selection.source is not self.ds
            ):
                self._say(f"choosing rows by {now.strategy} ...")
                self._choose()
            self._say("packing ...")
            self._may_pack = True
            for listener in self._settled:
                listener()
            self._resting = True
        finally:
            self._say("")

    def _say(self, text: str) -> None:
        for listener in self._busy:
            listener(text)


def _checked(old: Settings, ds: datasets.Dataset, changes: dict) -> Settings:
    """`old` with `changes`, each of which is checked."""
    for unit in UNITS:
        if unit in changes:
            changes = {**changes, "unit": unit, "amount": changes[unit]}
            changes.pop(unit)
    new = replace(old, **changes)
    selection.budget_of(**dict.fromkeys(UNITS) | new.budget)
    strategy_for(ds, new.strategy)
    one_of("packing", new.packing, packing.PACKERS)
    positive("max_length", new.max_length)
    positive("batch_size", new.batch_size)
    if new.k is not None and not (isinstance(new.k, int) and 1 <= new.k <= len(ds)):
        raise UserError(f"k={new.k!r} must be a whole number from 1 to the {len(ds)} rows.")
    return new


def total(state: State, unit: str) -> int:
    """The whole of which a budget in `unit` takes a part: rows or tokens that the strategy can keep."""
    candidates = state.candidates
    pool = candidates.pool(STRATEGIES[state.now.strategy].ratio_pool)
    return int(pool.sum() if unit == "rows" else candidates.tokens[pool].sum())

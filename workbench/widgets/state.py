"""The state of the dashboard: settings, and the selection and packing plans that they give."""

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
_REQUIRED = {  # columns -> the functions that make them
    ("ifd", "n_tokens"): "wb.score",
    ("cluster",): "wb.embed and wb.cluster",
    ("x", "y"): "wb.project",
}


class Cost(Protocol):
    """Predicted cost of a training."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Settings:
    """Settings of the dashboard.

    `amount` is in `unit`: a share in (0, 1], a number of rows or of training tokens. `k` is the number of
    clusters; None keeps the clusters of the table. `max_length` is in tokens, `batch_size` in samples.
    """

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
        """The budget as an argument of `wb.select`."""
        return {self.unit: self.amount}


class State:
    """The settings of the dashboard and the results that depend on them, shared by all panels.

    `set(ratio=0.3)` or `set(strategy="random")` changes the settings. Listeners of `on_change` are called for
    each step of a slider; those of `on_settle` once the settings are at rest, which is also when slow
    strategies and new clusters are computed.

    Parameters
    ----------
    ds : a table with `ifd` (float, may be missing), `n_tokens` (int), `cluster` (int), `x` and `y` (float).
        Optional: `instruction` (names of clusters) and `embedding` (float32 [d], for coverage).
    errors : the panel that shows exceptions.
    settings : `ratio`, `rows` or `tokens`, and fields of `Settings`.

    `ds` is the table with the current clusters and `given` the original one, `selection` the rows kept,
    `plan` their packing, and `now` the `Settings`. `before` and `plan_before` are the selection and the plan
    before the last move. Raises UserError if a column is missing or a setting is wrong.
    """

    def __init__(self, ds: datasets.Dataset, *, errors: ErrorPanel | None = None, **settings):
        for columns, stage in _REQUIRED.items():
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
        """Change settings by name: `ratio`, `rows`, `tokens`, or a field of `Settings`.

        Raises UserError, and changes nothing, if a value is wrong.
        """
        old, new = self.now, _checked(self.now, self.given, changes)
        if self._resting:
            self._resting, self.before, self.plan_before = False, self.selection, self.plan
        self.now = new
        same_rows = (new.strategy, new.k) == (old.strategy, old.k)
        if same_rows and new.budget != old.budget and STRATEGIES[new.strategy].nested:
            self._reselect()
        self._rest()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each new selection."""
        self._changed.append(listener)

    def on_settle(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the settings are at rest."""
        self._settled.append(listener)

    def on_busy(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with a description of each slow step, and with "" after the last one."""
        self._busy.append(listener)

    def price(self, predict: Callable[[PackPlan], Cost] | None) -> None:
        """Use `predict` for the cost of training on a plan; None removes the prediction."""
        self.predict = predict
        self._notify()

    def touch(self) -> None:
        """Compute what was postponed until after the first picture, and notify the listeners."""
        self._rest()

    @property
    def plan(self) -> PackPlan | None:
        """The packing of `selection`; None until the first rest, because its first call compiles code."""
        return self.plan_of(self.now.packing) if self._may_pack else None

    def plan_of(self, strategy: str) -> PackPlan:
        """The packing of `selection` by `strategy`, cached until the selection changes."""
        now = self.now
        key = (strategy, now.max_length, now.batch_size, now.seed)
        if key not in self._plans:
            lengths = self._lengths[self.selection.indices]
            self._plans[key] = packing.pack(
                lengths, now.max_length, strategy, batch_size=now.batch_size, seed=now.seed
            )
        return self._plans[key]

    def settings(self) -> dict[str, dict | None]:
        """Arguments of the calls that reproduce the numbers: `wb.cluster`, `wb.select` and `wb.pack`.

        "cluster" is None if the table's own clusters are used.
        """
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
        """Compute what depends on the clusters only."""
        self.clustered_by = self.now.k
        k = self.clustered_by
        self.ds = self.given if k is None else cluster(self.given, k, seed=self._cluster_seed)
        self.candidates = Candidates(self.ds)
        self.names = naming.cluster_names(self.ds) if "instruction" in self.ds.column_names else None
        self._explorer: Explorer | None = None

    def _select(self) -> Selection:
        now = self.now
        if self._explorer is None or self._explorer.strategy.name != now.strategy:
            # Only one is kept: it holds about 160 MB.
            self._explorer = Explorer(self.ds, now.strategy, seed=now.seed, candidates=self.candidates)
        return self._explorer.at(**now.budget)

    def _reselect(self) -> None:
        self.selection = self._select()
        self._plans.clear()
        self._notify()

    def _notify(self) -> None:
        for listener in self._changed:
            listener()

    def _follow(self) -> None:
        """Compute what is too slow to follow the slider."""
        now = self.now
        try:
            if now.k != self.clustered_by:
                self._say(f"clustering {len(self.given):,} rows …")
                self._prepare()
            current = self.selection.settings
            if (current["strategy"], current[now.unit]) != (now.strategy, now.amount) or (
                self.selection.source is not self.ds
            ):
                self._say(f"selecting rows with {now.strategy} …")
                self._reselect()
            self._say("packing …")
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
    """`old` with `changes`; raises UserError if a value is wrong."""
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
        raise UserError(f"k={new.k!r} must be a whole number from 1 to {len(ds)}, the number of rows.")
    return new


def total(state: State, unit: str) -> int:
    """Rows or training tokens that the strategy can keep at most: 100 % of a budget in `unit`."""
    candidates = state.candidates
    pool = candidates.pool(STRATEGIES[state.now.strategy].ratio_pool)
    return int(pool.sum() if unit == "rows" else candidates.tokens[pool].sum())

"""The state of the dashboard: settings, and the selection and packing plans that they give."""

import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

import datasets
import numpy as np

from .. import packing, selection
from ..core import tables
from ..core.errors import UserError, one_of, positive
from ..packing import PackPlan
from ..selection import (
    BAND,
    IFD,
    SETTINGS,
    STRATEGIES,
    Candidates,
    Explorer,
    Selection,
    check_by,
    strategy_for,
)
from ..space import naming
from ..space.clustering import cluster
from .tasks import Debounced, ErrorPanel, Serial

UNITS = ("ratio", "rows", "tokens")
_REQUIRED = {  # columns -> the functions that make them
    ("ifd", "n_tokens"): "wb.score",
    ("cluster",): "wb.embed and wb.cluster",
    ("x", "y"): "wb.project",
}


_SELECTING = (
    "strategy",
    "unit",
    "amount",
    "by",
    "lower",
    "upper",
    "k",
    "seed",
)  # the settings that the selection depends on


class Cost(Protocol):
    """Predicted cost of a training."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Settings:
    """Settings of the dashboard.

    `amount` is in `unit`: a share in (0, 1], a number of rows or of training tokens. `by`, `lower` and
    `upper` are those of `wb.select`, ignored by strategies that do not read them. `k` is the number of
    clusters; None keeps the clusters of the table. `max_length` is in tokens, `batch_size` in samples.
    """

    strategy: str = "ifd-cluster"
    unit: str = "ratio"
    amount: float = 0.4
    by: str = IFD
    lower: float = BAND[0]
    upper: float = BAND[1]
    k: int | None = None
    max_length: int = 2048
    packing: str = "dynamic"
    batch_size: int = 16
    seed: int = 0

    @property
    def budget(self) -> dict[str, float]:
        """The budget as an argument of `wb.select`."""
        return {self.unit: self.amount}

    @property
    def scores(self) -> dict:
        """Those of `by`, `lower` and `upper` that the strategy reads."""
        return STRATEGIES[self.strategy].used(by=self.by, lower=self.lower, upper=self.upper)


@dataclass(frozen=True, eq=False)
class Clusters:
    """A table clustered into `k` clusters (None: its own), its columns as arrays, and the clusters' names."""

    k: int | None
    ds: datasets.Dataset
    candidates: Candidates
    names: list[str] | None

    @classmethod
    def of(cls, ds: datasets.Dataset, k: int | None, seed: int) -> "Clusters":
        """`ds` with its own clusters if `k` is None, else clustered again with `seed`."""
        ds = ds if k is None else cluster(ds, k, seed=seed)
        names = naming.cluster_names(ds) if "instruction" in ds.column_names else None
        return cls(k, ds, Candidates(ds), names)


@dataclass(frozen=True, eq=False)
class Shown:
    """The selection that `settings` give, and its packing plans."""

    settings: Settings
    clusters: Clusters
    selection: Selection
    _plans: dict = field(default_factory=dict)

    def selects(self, settings: Settings) -> bool:
        """Whether `settings` give the same selection."""
        return all(getattr(self.settings, name) == getattr(settings, name) for name in _SELECTING)

    def packed(self, settings: Settings) -> "Shown":
        """The same selection with the packing of `settings`."""
        return replace(self, settings=settings)

    def plan(self, strategy: str) -> PackPlan:
        """The packing of the selection by `strategy`, cached."""
        now = self.settings
        key = (strategy, now.max_length, now.batch_size, now.seed)
        if key not in self._plans:
            lengths = self.selection.candidates.tokens[self.selection.indices]
            self._plans[key] = packing.pack(
                lengths, now.max_length, strategy, batch_size=now.batch_size, seed=now.seed
            )
        return self._plans[key]


class State:
    """The settings of the dashboard and the results that depend on them, shared by all panels.

    `set(ratio=0.3)` or `set(strategy="random")` changes the settings, from any thread. Listeners of
    `on_change` are called for each step of a slider; those of `on_settle` once the settings are at rest,
    which is also when slow strategies and new clusters are computed. One thread at a time computes and calls
    listeners. At rest, `selection` and `plan` are those of `now`. If they cannot be computed, the exception
    is shown and the settings return to those of the last rest; if the clustering fails, only `k` does.

    Parameters
    ----------
    ds : a table with `ifd` (float, may be missing), `n_tokens` (int), `cluster` (int), `x` and `y` (float).
        Optional: `instruction` (names of clusters) and `embedding` (float32 [d], for coverage).
    errors : the panel that shows exceptions.
    settings : `ratio`, `rows` or `tokens`, and fields of `Settings`.

    `now` is the `Settings`, `ds` the table with the current clusters and `given` the original one,
    `selection` the rows kept and `plan` their packing. `before` and `plan_before` are the selection and the
    plan before the last move. Raises UserError if a column is missing or a setting is wrong.
    """

    def __init__(self, ds: datasets.Dataset, *, errors: ErrorPanel | None = None, **settings):
        for columns, stage in _REQUIRED.items():
            tables.require(ds, columns, stage)
        if not len(ds):
            raise UserError("the dataset has no rows to look at.")
        self.errors = errors or ErrorPanel()
        self.given = ds
        self.given_k = len(np.unique(tables.array(ds, "cluster")))
        self.now = _checked(Settings(), ds, settings)
        self.predict: Callable[[PackPlan], Cost] | None = None
        self._changed: list[Callable[[], None]] = []
        self._settled: list[Callable[[], None]] = []
        self._busy: list[Callable[[str], None]] = []
        self._serial, self._lock = Serial(), threading.Lock()  # the lock is for `now` and `_due`
        self._due, self._resting, self._may_pack = False, True, False
        self._explorer: tuple[tuple, Explorer] | None = None
        clusters = Clusters.of(ds, self.now.k, self._cluster_seed)
        self._shown = self._rested = Shown(self.now, clusters, self._select(clusters, self.now))
        self._before: Shown | None = None
        self._rest = Debounced(lambda: self.submit(self._settle))

    def set(self, **changes) -> None:
        """Change settings by name: `ratio`, `rows`, `tokens`, or a field of `Settings`.

        Returns without waiting if another thread is computing: that thread then follows the change. Raises
        UserError, and changes nothing, if a value is wrong.
        """
        with self._lock:
            new = _checked(self.now, self.given, changes)
            if new == self.now and self._may_pack:
                return
            self.now, self._due = new, True
        self.submit(self._move)
        self._rest()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each new selection."""
        self._changed.append(self.errors.guard(listener, clear=False))

    def on_settle(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the settings are at rest."""
        self._settled.append(self.errors.guard(listener, clear=False))

    def on_busy(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with a description of each slow step, and with "" after the last one."""
        self._busy.append(self.errors.guard(listener, clear=False))

    def price(self, predict: Callable[[PackPlan], Cost] | None) -> None:
        """Use `predict` for the cost of training on a plan; None removes the prediction."""
        self.predict = predict
        self.submit(self._notify)

    def touch(self) -> None:
        """Compute what was postponed until after the first picture, and notify the listeners."""
        with self._lock:
            self._due = True
        self._rest()

    def submit(self, action: Callable[[], None]) -> None:
        """Run `action` while no other thread changes what is shown, and show its exceptions.

        It runs at once, or after what is being computed.
        """
        self._serial.submit(self.errors.guard(action, clear=False))

    def settle(self) -> Selection:
        """Bring the settings to rest now, waiting for other threads, and return their selection.

        Within a listener it returns the selection that is shown.
        """
        self._serial.wait(self.errors.guard(self._settle, clear=False))
        return self.selection

    @property
    def ds(self) -> datasets.Dataset:
        """The table with the current clusters."""
        return self._shown.clusters.ds

    @property
    def candidates(self) -> Candidates:
        """The columns of `ds` as arrays."""
        return self._shown.clusters.candidates

    @property
    def names(self) -> list[str] | None:
        """The names of the current clusters; None without a column `instruction`."""
        return self._shown.clusters.names

    @property
    def clustered_by(self) -> int | None:
        """The number of clusters that `ds` was clustered into; None for the table's own."""
        return self._shown.clusters.k

    @property
    def selection(self) -> Selection:
        """The rows kept."""
        return self._shown.selection

    @property
    def before(self) -> Selection | None:
        """The selection before the last move."""
        return self._before and self._before.selection

    @property
    def plan(self) -> PackPlan | None:
        """The packing of `selection`; None until the first rest, because its first call compiles code."""
        return self._plan(self._shown)

    @property
    def plan_before(self) -> PackPlan | None:
        """The plan before the last move."""
        return self._plan(self._before)

    def _plan(self, shown: Shown | None) -> PackPlan | None:
        return shown.plan(shown.settings.packing) if shown and self._may_pack else None

    def plan_of(self, strategy: str) -> PackPlan:
        """The packing of `selection` by `strategy`, cached until the selection changes."""
        return self._shown.plan(strategy)

    def settings(self) -> dict[str, dict | None]:
        """Arguments of the calls that reproduce what is shown: `wb.cluster`, `wb.select` and `wb.pack`.

        "cluster" is None if the table's own clusters are used.
        """
        shown = self._shown
        now, k = shown.settings, shown.clusters.k
        return {
            "cluster": None if k is None else {"k": k, "seed": self._cluster_seed},
            "select": {
                **now.budget,
                "strategy": now.strategy,
                "max_ifd": shown.selection.candidates.max_ifd,
                "seed": now.seed,
                **{name: value for name, value in now.scores.items() if value != SETTINGS[name]},
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

    def _select(self, clusters: Clusters, now: Settings) -> Selection:
        key = (clusters, now.strategy, now.seed, *now.scores.values())
        if self._explorer is None or self._explorer[0] != key:
            # Only one is kept: it holds about 160 MB.
            candidates = replace(clusters.candidates, **SETTINGS | now.scores)
            self._explorer = key, Explorer(clusters.ds, now.strategy, seed=now.seed, candidates=candidates)
        return self._explorer[1].at(**now.budget)

    def _move(self) -> None:
        """Follow the slider if only the budget moves and the strategy is quick."""
        if self._resting:
            self._resting, self._before = False, self._rested
        now, shown = self.now, self._shown
        only_budget = replace(shown.settings, unit=now.unit, amount=now.amount) == now != shown.settings
        if only_budget and STRATEGIES[now.strategy].nested:
            with self._reverting(now):
                self._shown = Shown(now, shown.clusters, self._select(shown.clusters, now))
            self._notify()

    def _notify(self) -> None:
        for listener in self._changed:
            listener()

    def _settle(self) -> None:
        """Compute what is too slow to follow the slider."""
        with self._lock:
            due, self._due, now = self._due, False, self.now
        if not due:
            return
        try:
            shown = self._computed(now)
            moved, self._shown = shown.selection is not self._shown.selection, shown
            self._rested, self._resting, self._may_pack = shown, True, True
            if moved:
                self._notify()
            for listener in self._settled:
                listener()
        finally:
            self._say("")

    def _computed(self, now: Settings) -> Shown:
        """Clusters, selection and plan of `now`."""
        shown = self._shown
        clusters = shown.clusters
        if now.k != clusters.k:
            self._say(f"clustering {len(self.given):,} rows …")
            with self._reverting(now, "k"):
                clusters = Clusters.of(self.given, now.k, self._cluster_seed)
        with self._reverting(now):
            if shown.selects(now):
                shown = shown.packed(now)
            else:
                self._say(f"selecting rows with {now.strategy} …")
                shown = Shown(now, clusters, self._select(clusters, now))
            self._say("packing …")
            shown.plan(now.packing)
        return shown

    @contextmanager
    def _reverting(self, tried: Settings, *names: str):
        """If `tried` cannot be computed, return the settings `names`, or all, to those of the last rest."""
        try:
            yield
        except BaseException:
            self._revert(tried, names or tuple(asdict(tried)))
            raise

    def _revert(self, tried: Settings, names: tuple[str, ...]) -> None:
        rested = self._rested
        with self._lock:
            if any(getattr(self.now, name) != getattr(tried, name) for name in names):
                return  # newer settings are due
            self.now = replace(self.now, **{name: getattr(rested.settings, name) for name in names})
            self._due |= tried != rested.settings
            if self.now == rested.settings:
                self._shown = rested
        self._notify()
        self.submit(self._settle)

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
    Candidates(ds, by=new.by, lower=new.lower, upper=new.upper)  # checks the band
    if new.by != IFD:
        check_by(ds, new.by)
    strategy_for(ds, new.strategy, by=new.by)
    one_of("packing", new.packing, packing.PACKERS)
    positive("max_length", new.max_length, most=packing.MOST_TOKENS)
    positive("batch_size", new.batch_size)
    if new.k is not None and not (isinstance(new.k, int) and 1 <= new.k <= len(ds)):
        raise UserError(f"k={new.k!r} must be a whole number from 1 to {len(ds)}, the number of rows.")
    if new.k is not None:
        tables.require(ds, ["embedding"], "wb.embed")
    return new


def total(state: State, unit: str) -> int:
    """Rows or training tokens that the strategy can keep at most: 100 % of a budget in `unit`."""
    candidates = state.candidates
    pool = candidates.pool(STRATEGIES[state.now.strategy].ratio_pool)
    return int(pool.sum() if unit == "rows" else candidates.tokens[pool].sum())

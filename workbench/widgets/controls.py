"""The controls of the dashboard; those that are rarely touched are folded away."""

import threading

import ipywidgets as w

from .. import packing, selection
from ..selection import IFD, STRATEGIES
from .markup import status, stylesheet
from .state import Settings, State, total

_POSITIONS = ("cluster", "x", "y")  # numbers that rank nothing
_TOOLTIPS = {
    "ratio": "How much to keep. Arrow keys move by 1 %, Page Up and Page Down by more",
    "ratio_field": "How much to keep, as an exact number",
    "unit": "Unit of the budget",
    "by": "The column that ranks rows, highest first",
    "band": "Quantiles of the score within each cluster between which rows are drawn",
    "k": "Number of clusters. A new number clusters the rows again; the map does not change",
    "max_length": "Maximum tokens per row; longer samples are truncated",
    "batch_size": "Samples per training step",
}


class Controls(w.VBox):
    """The settings of `state` as controls.

    `ratio` is a slider in percent, `ratio_field` the same budget in `unit` (%, rows or training tokens).
    The others are `strategy`, `by` (the column that ranks), `band` (two quantiles), `k` (clusters),
    `packing`, `max_length` (tokens) and `batch_size` (samples). `more` shows and hides `by`, `k`,
    `max_length` and `batch_size`. `busy` shows what is being computed.
    """

    def __init__(self, state: State):
        self._state = state
        self._updating: int | None = None  # the thread that shows settings
        now = state.now
        self.ratio = w.IntSlider(40, min=1, max=100, description="Keep", readout=False)
        self.ratio_field = w.BoundedFloatText(40.0, min=0, max=1e12, step=1)
        self.unit = w.Dropdown(options=self._units(), value=now.unit)
        self.strategy = self._menu("Strategy", selection.usable(state.given), now.strategy)
        self.by = self._menu("Rank by", _score_columns(state), now.by)
        self.band = w.FloatRangeSlider(
            value=(now.lower, now.upper), min=0, max=1, step=0.05, description="Band", readout_format=".2f"
        )
        self.packing = self._menu("Packing", list(packing.PACKERS), now.packing)
        self.k = self._number("Clusters", now.k or state.given_k, len(state.given))
        self.max_length = self._number("Row length", now.max_length, 10**6)
        self.batch_size = self._number("Batch", now.batch_size, 10**6)
        self.busy = w.HTML().add_class("workbench-busy")
        for name, tooltip in _TOOLTIPS.items():
            set_tooltip(getattr(self, name), tooltip)
        rare = w.VBox([self.by, self.k, self.max_length, self.batch_size]).add_class("workbench-fold")
        self.more = fold("More settings", rare)
        self._watch()
        self._follow()
        budget = w.HBox([self.ratio_field, self.unit]).add_class("workbench-budget")
        choices = [self.strategy, self.band, self.packing]
        super().__init__([stylesheet(), self.ratio, budget, *choices, self.more, rare, self.busy])
        self.add_class("workbench-controls")

    def _menu(self, name: str, options: list[str], value: str) -> w.Dropdown:
        return w.Dropdown(options=options, value=value, description=name)

    def _number(self, name: str, value: int, maximum: int) -> w.BoundedIntText:
        return w.BoundedIntText(value, min=1, max=maximum, description=name)

    def _watch(self) -> None:
        state, guard = self._state, self._state.errors.guard
        self.ratio.observe(guard(self._set_percent), "value")
        self.ratio_field.observe(guard(self._set_amount), "value")
        self.unit.observe(guard(self._set_unit), "value")
        self.k.observe(guard(self._set_k), "value")
        self.band.observe(guard(self._set_band), "value")
        self.ratio.add_class("workbench-keep")
        self.band.add_class("workbench-band")
        for name in ("strategy", "by", "packing", "max_length", "batch_size"):
            control = getattr(self, name)
            control.observe(guard(lambda change, name=name: self._set(**{name: change["new"]})), "value")
        state.on_change(self._follow)
        state.on_settle(self._follow)
        state.on_busy(lambda text: setattr(self.busy, "value", text and f"<i>{status(text)}</i>"))

    def _set(self, **changes) -> None:
        """Pass on what the user has set, but not the values that `_follow` shows."""
        if self._updating != threading.get_ident():
            self._state.set(**changes)
            self._state.submit(self._follow)

    def _set_percent(self, change) -> None:
        unit, share = self.unit.value, change["new"] / 100
        self._set(**{unit: share if unit == "ratio" else max(1, round(share * total(self._state, unit)))})

    def _set_amount(self, change) -> None:
        unit, amount = self.unit.value, change["new"]
        self._set(**{unit: amount / 100 if unit == "ratio" else int(amount)})

    def _set_unit(self, change) -> None:
        """Express the same budget in another unit."""
        selection = self._state.selection
        amounts = {
            "ratio": self.ratio.value / 100,
            "rows": max(1, len(selection.indices)),
            "tokens": max(1, selection.coverage.tokens_kept),
        }
        self._set(**{change["new"]: amounts[change["new"]]})

    def _set_k(self, change) -> None:
        self._set(k=None if change["new"] == self._state.given_k else change["new"])

    def _set_band(self, change) -> None:
        lower, upper = (round(bound, 6) for bound in change["new"])
        self._set(lower=lower, upper=upper)

    def _units(self) -> list[tuple[str, str]]:
        """Labels and names of the units; the strategy decides which rows the percentage refers to."""
        of_all = STRATEGIES[self._state.now.strategy].ratio_pool == "all"
        return [
            ("% of all rows" if of_all else "% of eligible rows", "ratio"),
            ("rows", "rows"),
            ("training tokens", "tokens"),
        ]

    def _follow(self) -> None:
        """Show the settings of `state`, whoever has changed them."""
        self._updating = threading.get_ident()
        try:
            self._show(self._state.now)
        finally:
            self._updating = None

    def _show(self, now: Settings) -> None:
        if tuple(self.unit.options) != tuple(self._units()):
            self.unit.options = self._units()
        self.unit.value, self.strategy.value, self.packing.value = now.unit, now.strategy, now.packing
        self.k.value = now.k or self._state.given_k
        self.max_length.value, self.batch_size.value = now.max_length, now.batch_size
        self.by.value, self.band.value = now.by, (now.lower, now.upper)
        reads = STRATEGIES[now.strategy].settings
        self.by.disabled = "by" not in reads
        self.band.layout.display = None if "lower" in reads else "none"
        share = now.amount if now.unit == "ratio" else now.amount / max(1, total(self._state, now.unit))
        set_tooltip(self.strategy, first_line(STRATEGIES[now.strategy].rank))
        set_tooltip(self.packing, first_line(packing.PACKERS[now.packing].pack))
        self.ratio_field.value = round(100 * now.amount, 6) if now.unit == "ratio" else now.amount
        self.ratio.value = min(100, max(1, round(100 * share)))


def _score_columns(state: State) -> list[str]:
    """The numeric columns that can rank rows, IFD first."""
    others = selection.numeric_columns(state.given)
    return [IFD, *(name for name in others if name not in (IFD, *_POSITIONS))]


def fold(title: str, content: w.Widget) -> w.ToggleButton:
    """A button that shows and hides `content`, hidden at first."""
    button = w.ToggleButton(False, description=title, icon="caret-right").add_class("workbench-fold-button")

    def show(change=None) -> None:
        content.layout.display = None if button.value else "none"
        button.icon = "caret-down" if button.value else "caret-right"

    button.observe(show, "value")
    show()
    return button


def first_line(function) -> str:
    """The first line of the docstring; empty without a docstring."""
    return (function.__doc__ or "").strip().partition("\n")[0]


def set_tooltip(widget: w.Widget, tooltip: str) -> None:
    """Set the tooltip; ipywidgets 7 calls it `description_tooltip`."""
    setattr(widget, "tooltip" if widget.has_trait("tooltip") else "description_tooltip", tooltip)

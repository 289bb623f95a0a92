"""Everything that can be set, in two lines above the figures."""

from contextlib import contextmanager

import ipywidgets as w

from .. import packing, selection
from ..selection import STRATEGIES
from .state import State, total

_WIDE = {"description_width": "initial"}
_TIPS = {
    "ratio": "how much to keep; arrow keys move by 1 %, Page keys by 10 %",
    "field": "the same as an exact number",
    "unit": "what the budget counts",
    "k": "number of clusters; another number clusters the rows again, the map stays as it is",
    "max_length": "tokens of a row at most; longer samples are cut",
    "batch_size": "samples of a training step",
}


class Controls(w.VBox):
    """Sets `state`: `ratio` (percent) and `ratio_field` (in `unit`), `strategy`, `k`, `packing`, `max_length`
    and `batch_size`. `busy` says what takes a while."""

    def __init__(self, state: State):
        self._state, self._telling = state, False
        now = state.now
        self.ratio = w.IntSlider(40, min=1, max=100, description="Keep", readout=False, style=_WIDE)
        self.ratio.layout = w.Layout(width="24em")
        self.ratio_field = w.BoundedFloatText(40.0, min=0, max=1e12, step=1, layout=w.Layout(width="8em"))
        self.unit = w.Dropdown(options=self._units(), value=now.unit, layout=w.Layout(width="14em"))
        self.strategy = self._menu("Strategy", selection.usable(state.given), now.strategy, "17em")
        self.k = self._number("Clusters", now.k or state.given_k, len(state.given), 9)
        self.packing = self._menu("Packing", list(packing.PACKERS), now.packing, "13em")
        self.max_length = self._number("Row length", now.max_length, 10**6, 11)
        self.batch_size = self._number("Batch", now.batch_size, 10**6, 8)
        self.busy = w.HTML().add_class("workbench-busy")
        for name, tip in _TIPS.items():
            _describe(getattr(self, "ratio_field" if name == "field" else name), tip)
        self._watch()
        self._follow()
        wrap = w.Layout(flex_flow="row wrap", align_items="center")
        super().__init__(
            [
                w.HBox([self.ratio, self.ratio_field, self.unit, self.strategy], layout=wrap),
                w.HBox([self.k, self.packing, self.max_length, self.batch_size, self.busy], layout=wrap),
            ]
        )
        self.add_class("workbench-controls")

    def _menu(self, name: str, options: list[str], value: str, width: str) -> w.Dropdown:
        return w.Dropdown(options=options, value=value, description=name, style=_WIDE, layout=_sized(width))

    def _number(self, name: str, value: int, most: int, width: int) -> w.BoundedIntText:
        layout = _sized(f"{width}em")
        return w.BoundedIntText(value, min=1, max=most, description=name, style=_WIDE, layout=layout)

    def _watch(self) -> None:
        state, guard = self._state, self._state.errors.guard
        self.ratio.observe(guard(self._slid), "value")
        self.ratio_field.observe(guard(self._typed), "value")
        self.unit.observe(guard(self._converted), "value")
        self.k.observe(guard(self._clustered), "value")
        for name in ("strategy", "packing", "max_length", "batch_size"):
            control = getattr(self, name)
            control.observe(guard(lambda change, name=name: self._set(**{name: change["new"]})), "value")
        state.on_change(self._follow)
        state.on_busy(lambda text: setattr(self.busy, "value", text and f'<i role="status">{text}</i>'))

    def _set(self, **changes) -> None:
        """What a person has set; not what `_follow` shows."""
        if not self._telling:
            self._state.set(**changes)
            self._follow()

    def _slid(self, change) -> None:
        unit, share = self.unit.value, change["new"] / 100
        self._set(**{unit: share if unit == "ratio" else max(1, round(share * total(self._state, unit)))})

    def _typed(self, change) -> None:
        unit, given = self.unit.value, change["new"]
        self._set(**{unit: given / 100 if unit == "ratio" else int(given)})

    def _converted(self, change) -> None:
        """The same rows, counted in another unit."""
        found = self._state.selection
        amounts = {
            "ratio": self.ratio.value / 100,
            "rows": max(1, len(found.indices)),
            "tokens": max(1, found.coverage.tokens_kept),
        }
        self._set(**{change["new"]: amounts[change["new"]]})

    def _clustered(self, change) -> None:
        self._set(k=None if change["new"] == self._state.given_k else change["new"])

    def _units(self) -> list[tuple[str, str]]:
        """What the percentage is of depends on the strategy."""
        of_all = STRATEGIES[self._state.now.strategy].ratio_pool == "all"
        return [
            ("% of all rows" if of_all else "% of the eligible rows", "ratio"),
            ("rows", "rows"),
            ("training tokens", "tokens"),
        ]

    def _follow(self) -> None:
        """Show what `state` says, also where something else than these controls has set it."""
        now = self._state.now
        with self._quiet():
            if tuple(self.unit.options) != tuple(self._units()):
                self.unit.options = self._units()
            self.unit.value, self.strategy.value, self.packing.value = now.unit, now.strategy, now.packing
            share = now.amount if now.unit == "ratio" else now.amount / max(1, total(self._state, now.unit))
            _describe(self.strategy, first_line(STRATEGIES[now.strategy].rank))
            _describe(self.packing, first_line(packing.PACKERS[now.packing].pack))
            self.ratio_field.value = round(100 * now.amount, 6) if now.unit == "ratio" else now.amount
            self.ratio.value = min(100, max(1, round(100 * share)))

    @contextmanager
    def _quiet(self):
        telling, self._telling = self._telling, True
        try:
            yield
        finally:
            self._telling = telling


def _sized(width: str) -> w.Layout:
    return w.Layout(width=width, margin="2px 2px 2px 1em")


def first_line(function) -> str:
    """What the function says of itself, in short; nothing where it says nothing."""
    return (function.__doc__ or "").strip().partition("\n")[0]


def _describe(widget: w.Widget, tip: str) -> None:
    """A tooltip, under the name that this version of ipywidgets has for it."""
    setattr(widget, "tooltip" if widget.has_trait("tooltip") else "description_tooltip", tip)

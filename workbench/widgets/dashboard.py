"""The linked dashboard: one slider moves histogram, counts, coverage, padding and map together."""

from pathlib import Path

import datasets
import ipywidgets as w

from .. import packing, selection, tables
from ..selection import Explorer, Selection, candidates_of
from . import numbers
from .controls import Controls
from .events import ErrorPanel, WhenSettled
from .fit import Fit
from .training import TrainingPanel
from .views import Bars, Map

_MADE_BY = {
    ("ifd", "n_tokens"): "wb.score",
    ("cluster",): "wb.embed and wb.cluster",
    ("x", "y"): "wb.project",
}


class Workbench(w.VBox):
    """Look at `ds` (scored, clustered and projected), slide the ratio, and train on what is kept.

    `selection` is what the controls choose at this moment; `run` the fine-tuning started last. Numbers, bars
    and shares follow the slider at once; padding and the map when it rests, as does all of a strategy that
    chooses anew for each ratio. The menu has every registered strategy whose columns `ds` has.
    """

    def __init__(
        self,
        ds: datasets.Dataset,
        *,
        ratio: float = 0.4,
        strategy: str = "ifd-cluster",
        max_length: int = 2048,
        batch_size: int = 16,
        model: str = "smollm2-135m",
        output_dir: str | Path = "runs/workbench",
    ):
        for columns, stage in _MADE_BY.items():
            tables.require(ds, columns, stage)
        selection.check_ratio(ratio)
        self.ds = ds
        self._candidates = candidates_of(ds)
        # A mistake in the strategy's name or columns is told before anything is built.
        self._explorer = Explorer(ds, strategy, candidates=self._candidates)
        self._packing = {"max_length": max_length, "batch_size": batch_size}
        self._lengths = tables.array(ds, "n_tokens")
        self.errors = ErrorPanel()
        self.controls = Controls(ratio, strategy, selection.usable(ds))
        self.ratio, self.strategy = self.controls.ratio, self.controls.strategy
        self.selection: Selection = self._select()
        self.numbers = w.HTML(numbers.shown(self.selection)).add_class("workbench-numbers")
        self._bars, self._map = Bars(self.selection, self._padding()), Map(ds, self.selection)
        self.bars, self.map = self._bars.widget, self._map.widget
        self.training = TrainingPanel(lambda: self.selection, self.errors, model, output_dir, max_length)
        self._settle = WhenSettled(self.errors.guard(self._follow, starts=False))
        for control in (self.ratio, self.strategy):
            control.observe(self.errors.guard(self._changed), "value")
        children = [self.controls, self.errors, self.numbers, Fit(), self.bars, self.map, self.training]
        super().__init__(children, layout=w.Layout(padding="4px"))
        self.add_class("workbench-dashboard")

    def __repr__(self) -> str:
        """What is shown where no widgets are."""
        return f"<Workbench of {len(self.ds):,} rows, {self.selection.report.n_kept:,} kept>"

    @property
    def run(self):
        """The fine-tuning started last, or None."""
        return self.training.run

    def _select(self) -> Selection:
        if self.strategy.value != self._explorer.strategy.name:  # one at a time: each holds some 160 MB
            self._explorer = Explorer(self.ds, self.strategy.value, candidates=self._candidates)
        return self._explorer.at(self.ratio.value / 100)

    def _changed(self, change) -> None:
        if self.controls.chosen.nested:
            self._choose()
        self._settle()

    def _choose(self) -> None:
        self.selection = self._select()
        self.numbers.value = numbers.shown(self.selection)
        self._bars.show(self.selection)

    def _follow(self) -> None:
        """What is too slow to move with the slider."""
        if not self.controls.chosen.nested:
            self._choose()
        self._bars.show_padding(self._padding())
        self._map.show(self.selection)

    def _padding(self) -> dict[str, float]:
        lengths = self._lengths[self.selection.indices]
        return {
            name: packing.pack(lengths, strategy=name, **self._packing).padding_rate
            for name in packing.STRATEGIES
        }

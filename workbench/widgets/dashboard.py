"""The linked dashboard: one slider moves histogram, counts, coverage, padding and map together."""

from pathlib import Path

import datasets
import ipywidgets as w
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .. import figures, packing, selection, tables
from ..selection import STRATEGIES, Explorer, Selection, candidates_of
from .events import ErrorPanel, WhenSettled
from .fit import Fit, responsive
from .training import TrainingPanel

_ON_MAP = 10_000  # points that a browser still moves easily; beyond, a sample is drawn
_NUMBER = (
    '<div style="display:inline-block;min-width:6.5em;margin:.4em 1.2em .2em 0">'
    '<div style="font-size:1.7em;line-height:1.3;font-variant-numeric:tabular-nums">{value}</div>'
    '<div style="opacity:.75;line-height:1.3">{name}</div></div>'
)
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
        self._shown = _sample(len(ds))  # rows drawn on the map
        self._lengths = tables.array(ds, "n_tokens")
        self._table = ds.select(self._shown).select_columns(["x", "y", "cluster", "instruction"]).to_pandas()
        self.errors = ErrorPanel()
        self._build_controls(ratio, strategy)
        self.selection: Selection = self._select()
        self.numbers = w.HTML().add_class("workbench-numbers")
        self.bars = self._build_bars()
        self.map = self._build_map()
        self.training = TrainingPanel(lambda: self.selection, self.errors, model, output_dir, max_length)
        self._settle = WhenSettled(self.errors.guard(self._follow, starts=False))
        for control in (self.ratio, self.strategy):
            control.observe(self.errors.guard(self._changed), "value")
        self._show_numbers()
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

    def _build_controls(self, ratio: float, strategy: str) -> None:
        wide = {"description_width": "initial"}
        self.ratio = w.IntSlider(
            value=round(100 * ratio),
            min=1,
            max=100,
            description="Keep",
            readout=False,  # the field beside it shows the number, and takes one
            style=wide,
            layout=w.Layout(width="32em"),
        )
        self.ratio_field = w.BoundedIntText(
            value=self.ratio.value, min=1, max=100, layout=w.Layout(width="4.5em")
        )
        w.link((self.ratio, "value"), (self.ratio_field, "value"))
        self.of = w.Label(layout=w.Layout(width="11em"))
        self.strategy = w.Dropdown(
            options=selection.usable(self.ds),
            value=strategy,
            description="Strategy",
            style=wide,
            layout=w.Layout(width="15em", margin="2px 2px 2px 1.5em"),
        )
        self.controls = w.HBox(
            [self.ratio, self.ratio_field, self.of, self.strategy], layout=w.Layout(flex_flow="row wrap")
        )

    def _select(self) -> Selection:
        if self.strategy.value != self._explorer.strategy.name:  # one at a time: each holds some 160 MB
            self._explorer = Explorer(self.ds, self.strategy.value, candidates=self._candidates)
        return self._explorer.at(self.ratio.value / 100)

    def _changed(self, change) -> None:
        if STRATEGIES[self.strategy.value].nested:
            self._choose()
        self._settle()

    def _choose(self) -> None:
        self.selection = self._select()
        self._show_numbers()
        mask = self.selection.mask
        clusters = self.selection.report.clusters
        edges = figures.ifd_bins(self._candidates.ifd)
        with self.bars.batch_update():
            self.bars.data[1].y = figures.binned(self._candidates.ifd[mask], edges)
            self.bars.data[3].y = 100 * clusters["of_kept"].to_numpy()

    def _follow(self) -> None:
        """What is too slow to move with the slider."""
        if not STRATEGIES[self.strategy.value].nested:
            self._choose()
        fresh = figures.padding_trace(self._padding())
        with self.bars.batch_update():
            self.bars.data[4].y, self.bars.data[4].text = fresh.y, fresh.text
        kept = figures.map_traces(self._table, self._kept_on_map)[1]
        with self.map.batch_update():
            shown = self.map.data[1]
            shown.x, shown.y, shown.text, shown.customdata = kept.x, kept.y, kept.text, kept.customdata
            shown.marker.color, shown.marker.symbol = kept.marker.color, kept.marker.symbol

    @property
    def _kept_on_map(self) -> np.ndarray:
        return self.selection.mask[self._shown]

    def _padding(self) -> dict[str, float]:
        lengths = self._lengths[self.selection.indices]
        return {
            name: packing.pack(lengths, strategy=name, **self._packing).padding_rate
            for name in packing.STRATEGIES
        }

    def _build_bars(self) -> go.FigureWidget:
        report = self.selection.report
        titles = ("Complexity", "Consistency", "Padding")
        bars = make_subplots(
            1, 3, subplot_titles=titles, column_widths=[0.38, 0.34, 0.28], horizontal_spacing=0.07
        )
        for column, traces in enumerate(
            (
                figures.histogram_traces(self._candidates.ifd, self.selection.mask),
                figures.share_traces(report.clusters),
                [figures.padding_trace(self._padding())],
            ),
            start=1,
        ):
            bars.add_traces(traces, rows=1, cols=column)
        for trace in bars.data[:2]:  # kept rows stand in front of all rows, in the same place
            trace.update(offset=-(trace.width or 0) / 2)
        for trace in bars.data[2:]:  # same colours, same meaning as the first two
            trace.update(showlegend=False)
        figures.style(bars, height=340)
        figures.limit_line(bars, row=1, col=1)
        bars.update_layout(bargap=0.2, margin_t=80, legend={"y": 1.13, "itemclick": False})
        bars.update_xaxes(title="IFD", row=1, col=1)
        bars.update_xaxes(title="cluster", type="category", row=1, col=2)
        bars.update_xaxes(title="packing strategy", row=1, col=3)
        bars.update_yaxes(title="rows", row=1, col=1)
        bars.update_yaxes(title="% of rows", row=1, col=2)
        bars.update_yaxes(title="% of computed tokens", range=[0, 100], row=1, col=3)
        return responsive(bars)

    def _build_map(self) -> go.FigureWidget:
        drawn = figures.coverage_map(self._table, self._kept_on_map, tables.noted(self.ds, "projection"))
        if len(self._shown) < len(self.ds):
            title = drawn.layout.title.text
            note = f" · {len(self._shown):,} of {len(self.ds):,} rows drawn, numbers are of all"
            drawn.update_layout(title_text=title.replace("</sub>", f"{note}</sub>"))
        return responsive(drawn)

    def _show_numbers(self) -> None:
        report, coverage = self.selection.report, self.selection.coverage
        mean = "none" if report.mean_ifd_kept is None else f"{report.mean_ifd_kept:.3f}"
        divergence = "none" if report.divergence is None else f"{report.divergence:.4f}"
        shown = {
            "rows kept": f"{report.n_kept:,}",
            "of all rows": f"{report.share_of_all:.1%}",
            f"of {report.n_eligible:,} eligible": f"{report.share_of_eligible:.1%}",
            "tokens": f"{coverage.tokens_kept:,}",
            "mean IFD kept": mean,
            "clusters lost": f"{report.clusters_lost}",
            "divergence, bits": divergence,
        }
        if coverage.mmd is not None:  # there are embeddings
            shown |= {"MMD": f"{coverage.mmd:.4f}", "coverage radius": f"{coverage.radius:.3f}"}
            shown["90 % within"] = f"{coverage.distance_90:.3f}"
        if coverage.near_duplicates is not None:
            shown["near-duplicates"] = f"{coverage.near_duplicates:.1%}"
        strategy = STRATEGIES[self.strategy.value]
        self.of.value = "% of all rows" if strategy.ratio_of_all else "% of the eligible rows"
        self.numbers.value = "".join(_NUMBER.format(name=name, value=value) for name, value in shown.items())


def _sample(n: int) -> np.ndarray:
    """Rows to draw: all, or an even sample, in the order of the table."""
    if n <= _ON_MAP:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, _ON_MAP, replace=False))

"""The dashboard's two figures, and how they follow a selection."""

import datasets
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .. import figures, tables
from ..selection import Selection
from .fit import responsive

ON_MAP = 10_000  # points that a browser still moves easily; beyond, a sample is drawn


class Bars:
    """Complexity, consistency and padding side by side; `widget` is on the page."""

    def __init__(self, selection: Selection, padding: dict[str, float]):
        self._ifd = selection.candidates.ifd
        titles = ("Complexity", "Consistency", "Padding")
        bars = make_subplots(
            1, 3, subplot_titles=titles, column_widths=[0.38, 0.34, 0.28], horizontal_spacing=0.07
        )
        for column, traces in enumerate(
            (
                figures.histogram_traces(self._ifd, selection.mask),
                figures.share_traces(selection.report.clusters),
                [figures.padding_trace(padding)],
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
        self.widget: go.FigureWidget = responsive(bars)

    def show(self, selection: Selection) -> None:
        with self.widget.batch_update():
            edges = figures.ifd_bins(self._ifd)
            self.widget.data[1].y = figures.binned(self._ifd[selection.mask], edges)
            self.widget.data[3].y = 100 * selection.report.clusters["of_kept"].to_numpy()

    def show_padding(self, padding: dict[str, float]) -> None:
        fresh = figures.padding_trace(padding)
        with self.widget.batch_update():
            self.widget.data[4].y, self.widget.data[4].text = fresh.y, fresh.text


class Map:
    """Where the kept rows lie; `widget` is on the page."""

    def __init__(self, ds: datasets.Dataset, selection: Selection):
        self._rows = _sample(len(ds))
        columns = ds.select(self._rows).select_columns(["x", "y", "cluster", "instruction"])
        self._table = columns.to_pandas()
        drawn = figures.coverage_map(self._table, selection.mask[self._rows], tables.noted(ds, "projection"))
        if len(self._rows) < len(ds):
            title = drawn.layout.title.text
            note = f" · {len(self._rows):,} of {len(ds):,} rows drawn, numbers are of all"
            drawn.update_layout(title_text=title.replace("</sub>", f"{note}</sub>"))
        self.widget: go.FigureWidget = responsive(drawn)

    def show(self, selection: Selection) -> None:
        kept = figures.map_traces(self._table, selection.mask[self._rows])[1]
        with self.widget.batch_update():
            shown = self.widget.data[1]
            shown.x, shown.y, shown.text, shown.customdata = kept.x, kept.y, kept.text, kept.customdata
            shown.marker.color, shown.marker.symbol = kept.marker.color, kept.marker.symbol


def _sample(n: int) -> np.ndarray:
    """Rows to draw: all, or an even sample, in the order of the table."""
    if n <= ON_MAP:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, ON_MAP, replace=False))

"""The dashboard's figures, and how they follow the state."""

import ipywidgets as w
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .. import figures, packing
from ..core import tables
from ..figures import SVG_POINTS, to_svg
from ..selection import ifd_cut
from .controls import first_line
from .state import State

ON_MAP, IN_FULL = 10_000, 20_000  # points of a sample; rows up to which all are drawn
HISTOGRAM_KEPT, HISTOGRAM_LEFT, SHARES_ALL, SHARES_KEPT = range(4)  # traces of the bars
DENSITY, MAP_ALL, MAP_KEPT = range(3)  # traces of the map
_HEIGHT = 640
_CUT = 1  # shape and annotation, after those of IFD 1


class Bars:
    """Complexity with its cut, and below it the clusters' shares. `figure` is plotly's, or a widget."""

    def __init__(self, state: State):
        self._state = state
        ifd = state.candidates.ifd
        self._edges = figures.ifd_bins(ifd)
        # Which bin each row is in; -1 without a score.
        self._bin = np.full(len(ifd), -1)
        scored = np.isfinite(ifd)
        at = np.searchsorted(self._edges, ifd[scored], side="right") - 1
        self._bin[scored] = np.clip(at, 0, len(self._edges) - 2)
        self.figure = self._drawn()

    def _drawn(self) -> go.Figure:
        selection = self._state.selection
        bars = make_subplots(
            2,
            1,
            subplot_titles=("Complexity: rows by IFD", "Consistency: share of each cluster"),
            row_heights=[0.45, 0.55],
            vertical_spacing=0.2,
        )
        bars.add_traces(figures.histogram_traces(self._state.candidates.ifd, selection.mask), rows=1, cols=1)
        bars.add_traces(figures.share_traces(selection.report.clusters, self._state.names), rows=2, cols=1)
        bars.update_traces(showlegend=False, row=2, col=1)  # same colours, same meaning
        figures.style(bars, height=_HEIGHT)
        bars.update_annotations(x=0, xanchor="left", yshift=18, font_size=15)
        figures.limit_line(bars, row=1, col=1)
        cut = ifd_cut(selection)
        bars.add_shape(figures.cut_shape(cut))
        bars.add_annotation(figures.cut_note(cut))
        bars.update_layout(barmode="stack", bargap=0, margin={"t": 64, "b": 46, "r": 12})
        bars.update_layout(
            legend={
                "y": 1.05,
                "x": 1,
                "xanchor": "right",
                "yanchor": "bottom",
                "itemclick": False,
                "traceorder": "normal",
            }
        )
        bars.update_xaxes(title="IFD", row=1, col=1)
        bars.update_yaxes(title="rows", row=1, col=1)
        bars.update_xaxes(title="% of rows", domain=[0.24, 1], row=2, col=1)
        bars.update_yaxes(type="category", autorange="reversed", showgrid=False, row=2, col=1)
        return bars

    def update(self) -> None:
        """Show the selection of this moment."""
        selection, figure = self._state.selection, self.figure
        kept, left = (self._rows_in_bins(some) for some in (selection.mask, ~selection.mask))
        cut = ifd_cut(selection)
        with figure.batch_update():
            figure.data[HISTOGRAM_KEPT].y, figure.data[HISTOGRAM_LEFT].y = kept, left
            figure.data[SHARES_KEPT].x = (100 * selection.report.clusters["of_kept"]).tolist()
            _change(figure.layout.shapes[_CUT], figures.cut_shape(cut))
            _change(figure.layout.annotations[-1], figures.cut_note(cut))

    def _rows_in_bins(self, mask: np.ndarray) -> list[int]:
        return np.bincount(self._bin[mask] + 1, minlength=len(self._edges))[1:].tolist()

    def recluster(self) -> None:
        """Show other clusters."""
        fresh = figures.share_traces(self._state.selection.report.clusters, self._state.names)
        with self.figure.batch_update():
            for place, trace in zip((SHARES_ALL, SHARES_KEPT), fresh, strict=True):
                self.figure.data[place].update(x=trace.x, y=trace.y)

    @property
    def told(self) -> str:
        """What the figure shows, in a sentence for screen readers."""
        report, cut = self._state.selection.report, ifd_cut(self._state.selection)
        where = f", cut from IFD {cut[0]:.3f} to {cut[1]:.3f}" if cut else ""
        return f"Histogram of complexity: {report.n_kept:,} of {report.n_rows:,} rows kept{where}."


class Map:
    """Where the kept rows lie. Up to 20,000 rows all are drawn, of more a sample over the density of all.

    Without `webgl` a sample of 2,000 is drawn. `rows` are those drawn.
    """

    def __init__(self, state: State, webgl: bool = False):
        self._state = state
        self.draw(webgl)

    def draw(self, webgl: bool) -> None:
        """Make `figure` anew, with or without WebGL."""
        state, n = self._state, len(self._state.ds)
        self.webgl = webgl and n > SVG_POINTS
        most = (n if n <= IN_FULL else ON_MAP) if self.webgl else SVG_POINTS
        self.rows = stratified(tables.array(state.ds, "cluster"), most)
        columns = ["x", "y", "cluster", *(["instruction"] if "instruction" in state.ds.column_names else [])]
        table = state.ds.select(self.rows).select_columns(columns).to_pandas()
        self._table = table.assign(instruction=table.get("instruction", "")).set_index(self.rows)
        self.figure = self._drawn()

    def _drawn(self) -> go.Figure:
        state, n = self._state, len(self._state.ds)
        kept = state.selection.mask[self.rows]
        drawn = figures.coverage_map(
            self._table, kept, tables.noted(state.given, "projection"), state.names, self.webgl
        )
        points, legend = drawn.data[:2], drawn.data[2:]
        sampled = len(self.rows) < n
        x, y = (tables.array(state.ds, name) for name in "xy") if sampled else (np.zeros(0), np.zeros(0))
        figure = go.Figure([figures.density(x, y), *points, *legend], drawn.layout)
        note = f"{len(self.rows):,} of {n:,} rows drawn over the density of all" if sampled else ""
        title = figures.map_title(tables.noted(state.given, "projection"), note)
        figure.update_layout(
            height=_HEIGHT,
            title_text=title,
            margin={"t": 48 + 16 * title.count("<br>"), "b": 120, "l": 20, "r": 10},
            title_font_size=15,
            dragmode="pan",
        )
        return figure

    def redraw(self, webgl: bool | None = None) -> None:
        """Draw everything anew in the same figure: after another clustering, or now that WebGL is there."""
        shown = self.figure
        self.draw(self.webgl if webgl is None else webgl)
        fresh, self.figure = self.figure, shown
        with shown.batch_update():
            shown.data = ()
            shown.add_traces(list(fresh.data))
            shown.layout.title.text, shown.layout.margin.t = fresh.layout.title.text, fresh.layout.margin.t

    def update(self) -> None:
        """Show which points are kept."""
        rows = self._table[self._state.selection.mask[self.rows]]
        kept = figures.points_kept(rows, self._state.names, self.webgl)
        with self.figure.batch_update():
            shown = self.figure.data[MAP_KEPT]
            shown.x, shown.y, shown.text, shown.customdata = kept.x, kept.y, kept.text, kept.customdata
            shown.marker.color, shown.marker.symbol = kept.marker.color, kept.marker.symbol

    @property
    def told(self) -> str:
        """What the figure shows, in a sentence for screen readers."""
        report = self._state.selection.report
        clusters = f"{len(report.clusters)} clusters"
        return f"Map of {report.n_rows:,} instructions in {clusters}, {report.n_kept:,} kept."


def _change(shown, properties: dict) -> None:
    """Set what differs: plotly takes milliseconds for each property, also for one that stays."""
    for name, value in properties.items():
        if shown[name] != value:
            shown[name] = value


class PackingPreview(w.VBox):
    """The first batch as each of the chosen strategies packs it; `shown` are the buttons that choose."""

    def __init__(self, state: State, strategies: tuple[str, ...] = ("pad", "dynamic")):
        self._state = state
        chosen = dict.fromkeys((*strategies, state.now.packing))
        self.shown = {
            name: w.ToggleButton(
                name in chosen,
                description=name,
                tooltip=first_line(how.pack),
                layout=w.Layout(width="6.5em"),
            )
            for name, how in packing.PACKERS.items()
        }
        for button in self.shown.values():
            button.observe(state.errors.guard(lambda change: self.refresh()), "value")
        self.picture = w.HTML().add_class("workbench-packing")
        title = w.HTML('<b style="font-size:1.1em">Packing: the first batch</b>')
        buttons = w.HBox([title, *self.shown.values()], layout=w.Layout(flex_flow="row wrap"))
        super().__init__([buttons, self.picture])
        state.on_settle(self.refresh)

    def refresh(self) -> None:
        """Draw the plans of this moment."""
        state = self._state
        names = [name for name, button in self.shown.items() if button.value or name == state.now.packing]
        plans = [state.plan_of(name) for name in names]
        told = "Packing of the first batch. " + ", ".join(
            f"{plan.strategy}: {plan.padding_rate:.1%} padding" for plan in plans
        )
        self.picture.value = to_svg(figures.packing_preview(plans), 1200, told)


def stratified(labels: np.ndarray, most: int) -> np.ndarray:
    """At most `most` rows, ascending: of each cluster its share, and at least one where there is room."""
    if len(labels) <= most:
        return np.arange(len(labels))
    rng, chosen = np.random.default_rng(0), []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen.append(rng.choice(rows, max(1, int(most * len(rows) / len(labels))), replace=False))
    return np.sort(np.concatenate(chosen))[:most]

"""The figures of the dashboard, updated as the state changes."""

import ipywidgets as w
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .. import figures, packing
from ..core import tables
from ..core.texts import for_hover
from ..figures import SVG_POINTS, to_svg
from ..selection import IFD, band, ifd_cut
from .controls import first_line
from .state import State

MAP_SAMPLE, MAP_MAX_ROWS = 10_000, 20_000  # points drawn if there are more rows than the second number
HISTOGRAM_KEPT, HISTOGRAM_LEFT, SHARES_ALL, SHARES_KEPT = range(4)  # indices of traces of the bars
DENSITY, MAP_ALL, MAP_KEPT = range(3)  # indices of traces of the map
_HEIGHT = 600  # pixels, where the page sets no height
_FEW = 16  # clusters whose bars need no more room than the histogram
_LIMIT, _CUT = range(2)  # indices of the shapes: the line at IFD 1, and the cut or band


class Bars:
    """Histogram of IFD with the cut of the selection, and the clusters' shares of all and of kept rows.

    `figure` is a plotly Figure; replace it by a FigureWidget to update it on the page.
    """

    def __init__(self, state: State):
        self._state = state
        self._sort_into_bins()
        self.figure = self._draw()

    def _sort_into_bins(self) -> None:
        candidates = self._state.selection.candidates
        self._by, score = candidates.by, candidates.score
        self._edges = figures.ifd_bins(score) if self._by == IFD else figures.score_bins(score)
        # The bin of each row, or -1 without a score.
        self._bin = np.full(len(score), -1)
        scored = np.isfinite(score)
        at = np.searchsorted(self._edges, score[scored], side="right") - 1
        self._bin[scored] = np.clip(at, 0, len(self._edges) - 2)

    @property
    def _score_name(self) -> str:
        return "IFD" if self._by == IFD else for_hover(self._by, 60)

    def _histogram(self) -> list[go.Bar]:
        selection = self._state.selection
        score = selection.candidates.score
        return figures.histogram_traces(score, selection.mask, self._edges, self._score_name)

    def _cut(self) -> tuple[tuple[float, float] | None, dict]:
        """The cut of the selection, or the band that its rows are drawn from, and its label."""
        selection = self._state.selection
        if limits := band(selection):
            return limits, figures.cut_note(limits, name="bands of the clusters")
        cut = ifd_cut(selection)
        return cut, figures.cut_note(cut)

    def _draw(self) -> go.Figure:
        selection = self._state.selection
        few = len(selection.report.clusters) <= _FEW
        bars = make_subplots(
            2,
            1,
            subplot_titles=("Complexity: rows by IFD", "Consistency: share of each cluster"),
            row_heights=[0.44, 0.56] if few else [0.22, 0.78],
            vertical_spacing=0.17,
        )
        bars.add_traces(self._histogram(), rows=1, cols=1)
        bars.add_traces(figures.share_traces(selection.report.clusters, self._state.names), rows=2, cols=1)
        bars.update_traces(showlegend=False, row=2, col=1)  # the legend of the histogram covers these colours
        figures.style(bars, height=_HEIGHT)
        bars.update_annotations(x=0, xanchor="left", xshift=-38, yshift=18, font_size=14)
        figures.limit_line(bars, row=1, col=1)
        cut, note = self._cut()
        bars.add_shape(figures.cut_shape(cut))
        bars.add_annotation(note)
        bars.update_layout(barmode="stack", bargap=0, margin={"t": 52, "b": 40, "l": 44, "r": 12})
        legend = {"x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "yref": "container"}
        bars.update_layout(legend={**legend, "itemclick": False, "traceorder": "normal", "font_size": 12})
        bars.update_xaxes(title="IFD", range=self._edges[[0, -1]].tolist(), row=1, col=1)
        bars.update_yaxes(title="rows", nticks=5, row=1, col=1)
        bars.update_xaxes(title="% of rows", domain=[0.38, 1], row=2, col=1)
        bars.update_yaxes(self._share_axis, automargin=False, row=2, col=1)
        return bars

    @property
    def _share_axis(self) -> dict:
        return figures.share_axis(self._state.selection.report.clusters, self._state.names)

    def update(self) -> None:
        """Show the current selection."""
        selection, figure = self._state.selection, self.figure
        kept, left = (self._rows_in_bins(mask) for mask in (selection.mask, ~selection.mask))
        other = selection.candidates.by != self._by
        if other:
            self._sort_into_bins()
            kept, left = (self._rows_in_bins(mask) for mask in (selection.mask, ~selection.mask))
        cut, note = self._cut()
        with figure.batch_update():
            if other:
                self._rename()
            figure.data[HISTOGRAM_KEPT].y, figure.data[HISTOGRAM_LEFT].y = kept, left
            figure.data[SHARES_KEPT].x = (100 * selection.report.clusters["of_kept"]).tolist()
            _change(figure.layout.shapes[_CUT], figures.cut_shape(cut))
            _change(figure.layout.annotations[-1], note)

    def _rename(self) -> None:
        """Show another score on the axis of the histogram; IFD alone has a limit."""
        figure, name = self.figure, self._score_name
        for at, fresh in zip((HISTOGRAM_KEPT, HISTOGRAM_LEFT), self._histogram(), strict=True):
            figure.data[at].update(x=fresh.x, width=fresh.width, hovertemplate=fresh.hovertemplate)
        figure.layout.xaxis.update(title_text=name, range=self._edges[[0, -1]].tolist())
        figure.layout.annotations[0].text = f"Complexity: rows by {name}"
        figure.layout.shapes[_LIMIT].visible = figure.layout.annotations[2].visible = self._by == IFD

    def _rows_in_bins(self, mask: np.ndarray) -> list[int]:
        return np.bincount(self._bin[mask] + 1, minlength=len(self._edges))[1:].tolist()

    def recluster(self) -> None:
        """Show the shares after a new clustering."""
        fresh = figures.share_traces(self._state.selection.report.clusters, self._state.names)
        with self.figure.batch_update():
            for at, trace in zip((SHARES_ALL, SHARES_KEPT), fresh, strict=True):
                self.figure.data[at].update(x=trace.x, y=trace.y)
            self.figure.layout.yaxis2.update(self._share_axis)

    @property
    def label(self) -> str:
        """What the figure shows, for screen readers."""
        report, (cut, _) = self._state.selection.report, self._cut()
        kind = "band" if band(self._state.selection) else "cut"
        at = f", {kind} from {self._score_name} {cut[0]:.3f} to {cut[1]:.3f}" if cut else ""
        return f"Histogram of complexity: {report.n_kept:,} of {report.n_rows:,} rows kept{at}."


class Map:
    """Map of the instructions with the kept rows on top.

    Beyond 20,000 rows, a stratified sample of 10,000 is drawn over the density of all rows; without `webgl`
    a sample of 2,000 beyond 2,000 rows. `rows` are the indices of the rows drawn.
    """

    def __init__(self, state: State, webgl: bool = False):
        self._state = state
        self.draw(webgl)

    def draw(self, webgl: bool) -> None:
        """Create `figure`, with or without WebGL."""
        state, n = self._state, len(self._state.ds)
        self.webgl = webgl and n > SVG_POINTS
        n_drawn = (n if n <= MAP_MAX_ROWS else MAP_SAMPLE) if self.webgl else SVG_POINTS
        self.rows = stratified(tables.array(state.ds, "cluster"), n_drawn)
        columns = ["x", "y", "cluster", *(["instruction"] if "instruction" in state.ds.column_names else [])]
        table = state.ds.select(self.rows).select_columns(columns).to_pandas()
        self._table = table.assign(instruction=table.get("instruction", "")).set_index(self.rows)
        self.figure = self._draw()

    def _draw(self) -> go.Figure:
        state, n = self._state, len(self._state.ds)
        kept = state.selection.mask[self.rows]
        points = figures.coverage_map(
            self._table, kept, tables.noted(state.given, "projection"), state.names, self.webgl
        )
        sampled = len(self.rows) < n
        x, y = (tables.array(state.ds, name) for name in "xy") if sampled else (np.zeros(0), np.zeros(0))
        places = figures.label_trace(self._table, state.names)
        figure = go.Figure([figures.density(x, y), *points.data[:2], places], points.layout)
        note = f"{len(self.rows):,} of {n:,} rows drawn over the density of all" if sampled else ""
        title = figures.map_title(tables.noted(state.given, "projection"), note)
        figure.update_layout(
            height=_HEIGHT,
            title_text=title,
            margin={"t": 34 + 16 * title.count("<br>"), "b": 8, "l": 8, "r": 8},
            title={"font_size": 14, "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 20}},
            showlegend=False,
            dragmode="pan",
        )
        return figure

    def redraw(self, webgl: bool | None = None) -> None:
        """Draw everything again in the same figure: after a new clustering, or once WebGL is available."""
        figure = self.figure
        self.draw(self.webgl if webgl is None else webgl)
        fresh, self.figure = self.figure, figure
        with figure.batch_update():
            figure.data = ()
            figure.add_traces(list(fresh.data))
            figure.layout.title.text, figure.layout.margin.t = fresh.layout.title.text, fresh.layout.margin.t

    def update(self) -> None:
        """Show which points are kept."""
        rows = self._table[self._state.selection.mask[self.rows]]
        kept = figures.points_kept(rows, self._state.names, self.webgl)
        with self.figure.batch_update():
            trace = self.figure.data[MAP_KEPT]
            trace.x, trace.y, trace.text, trace.customdata = kept.x, kept.y, kept.text, kept.customdata
            trace.marker.color, trace.marker.symbol = kept.marker.color, kept.marker.symbol

    @property
    def label(self) -> str:
        """What the figure shows, for screen readers."""
        report = self._state.selection.report
        clusters = f"{len(report.clusters)} clusters"
        return f"Map of {report.n_rows:,} instructions in {clusters}, {report.n_kept:,} kept."


def _change(element, properties: dict) -> None:
    """Set only what differs: plotly takes milliseconds per property, even for an equal value."""
    for name, value in properties.items():
        if element[name] != value:
            element[name] = value


class PackingPreview(w.VBox):
    """The first batch of the kept rows, as each chosen packing strategy packs it.

    `buttons` maps each strategy to the button that shows or hides it; the one in use is always shown.
    """

    def __init__(self, state: State, strategies: tuple[str, ...] = ("pad", "dynamic")):
        self._state = state
        chosen = dict.fromkeys((*strategies, state.now.packing))
        self.buttons = {
            name: w.ToggleButton(
                name in chosen,
                description=name,
                tooltip=first_line(packer.pack),
                layout=w.Layout(width="6.5em"),
            )
            for name, packer in packing.PACKERS.items()
        }
        for button in self.buttons.values():
            button.observe(state.errors.guard(lambda change: state.submit(self.refresh)), "value")
        self.picture = w.HTML().add_class("workbench-packing")
        title = w.HTML('<b style="font-size:1.1em">Packing: the first batch</b>')
        head = w.HBox([title, *self.buttons.values()], layout=w.Layout(flex_flow="row wrap"))
        super().__init__([head, self.picture])
        state.on_settle(self.refresh)

    def refresh(self) -> None:
        """Draw the current plans."""
        state = self._state
        names = [name for name, button in self.buttons.items() if button.value or name == state.now.packing]
        plans = [state.plan_of(name) for name in names]
        label = "Packing of the first batch. " + ", ".join(
            f"{plan.strategy}: {plan.padding_rate:.1%} padding" for plan in plans
        )
        self.picture.value = to_svg(figures.packing_preview(plans), 1200, label)


def stratified(labels: np.ndarray, n: int) -> np.ndarray:
    """Ascending indices of at most `n` random rows: each cluster's share, and at least one row if `n` allows.

    `labels` is int [rows], the cluster of each row.
    """
    if len(labels) <= n:
        return np.arange(len(labels))
    rng, chosen = np.random.default_rng(0), []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen.append(rng.choice(rows, max(1, int(n * len(rows) / len(labels))), replace=False))
    return np.sort(np.concatenate(chosen))[:n]

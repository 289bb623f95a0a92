"""The linked dashboard: controls, numbers and figures of one state, and the panels that act on it."""

import sys
from pathlib import Path

import datasets
import ipywidgets as w
from IPython.display import display

from ..core import progress
from ..core.errors import one_of
from ..figures import to_svg
from ..selection import Selection
from . import numbers
from .browser import MODES, Fit, Picture, responsive
from .controls import Controls
from .cost import CostPanel
from .export import ExportPanel
from .fallback import Fallback, view_of
from .inspector import Inspector
from .numbers import Numbers
from .offer import Offer, missing
from .state import State
from .tasks import ErrorPanel
from .training import TrainingPanel
from .views import Bars, Map, PackingPreview

_HALF = 620  # pixels of a figure as a picture
_TABS = ("Packing", "Rows", "Fine-tune", "Export")


class Workbench(w.VBox):
    """Look at `ds`, slide the ratio, see what that keeps and costs, and train on it.

    `state` holds the settings, `selection` what they choose at this moment, and `run` is the fine-tuning
    started last. Numbers, histogram and shares follow the slider at once; packing and the map when it rests,
    as do strategies that choose anew for each ratio, and other clusters. The menu has every registered
    strategy whose columns `ds` has. A table without scores, clusters or coordinates is offered to be
    completed with `model`.

    `interactive="core"` draws pictures in place of plotly's widgets, for pages that have none but the core
    widgets. Where no widget is shown at all, a picture of the dashboard stands in its place.
    """

    def __init__(
        self,
        ds: datasets.Dataset,
        *,
        ratio: float = 0.4,
        strategy: str = "ifd-cluster",
        max_length: int = 2048,
        packing: str = "dynamic",
        batch_size: int = 16,
        model: str = "smollm2-135m",
        output_dir: str | Path = "runs/workbench",
        interactive: str = "full",
    ):
        one_of("interactive", interactive, MODES)
        self._mode, self._model, self._output_dir = interactive, model, output_dir
        self._settings = {"ratio": ratio, "strategy": strategy, "max_length": max_length}
        self._settings |= {"packing": packing, "batch_size": batch_size}
        self.errors = ErrorPanel()
        self.state: State | None = None
        super().__init__(layout=w.Layout(padding="4px"))
        self.add_class("workbench-dashboard").add_class(self._live)
        if missing(ds):
            self.ds = ds
            self.offer = Offer(ds, model, self.errors, self._build)
            self.children = [self.offer, self.errors]
        else:
            self._build(ds)

    def _build(self, ds: datasets.Dataset) -> None:
        """Everything that needs a table with all its columns."""
        self.ds = ds
        self.state = state = State(ds, errors=self.errors, **self._settings)
        self.controls, self.numbers = Controls(state), Numbers(state)
        self.ratio, self.strategy = self.controls.ratio, self.controls.strategy
        self._bars, self._map = Bars(state), Map(state)
        if self._mode == "full":
            self._bars.figure, self._map.figure = responsive(self._bars.figure), responsive(self._map.figure)
            self.bars, self.map = self._bars.figure, self._map.figure
        else:
            self.bars, self.map = Picture(self._bars, _HALF), Picture(self._map, _HALF)
        self._build_panels(state)
        self._drawn_k = None
        state.on_change(self._follow_live)
        state.on_settle(self._follow_at_rest)
        halves = w.HBox(
            [_half(self.bars, "bars"), _half(self.map, "map")],
            layout=w.Layout(width="100%", flex_flow="row wrap"),
        )
        self.fit = self._fitted()
        shown = [self.controls, self.errors, self.numbers, self.cost, *self.fit, halves, self.tabs]
        self.children = shown
        state.touch()  # packing compiles when it is first used: after the first picture

    def _build_panels(self, state: State) -> None:
        """What acts on the selection, a tab each, and what training on it would take."""
        self.packing = PackingPreview(state)
        self.inspector = Inspector(state.ds, model=self._model, errors=self.errors, selected=state.selection)
        self.training = TrainingPanel(
            lambda: self.selection,
            self.errors,
            self._model,
            self._output_dir,
            state.now.max_length,
            strategy=state.now.packing,
            batch_size=state.now.batch_size,
        )
        self.export = ExportPanel(lambda: self.selection, state.settings, self.errors)
        self.cost = CostPanel(lambda: state.plan, self._training_settings, self.errors, state.price)
        form = self.training.form
        for above, below in (
            (self.controls.packing, form.strategy),
            (self.controls.max_length, form.max_length),
            (self.controls.batch_size, form.batch_size),
        ):
            w.link((above, "value"), (below, "value"))  # what is previewed is what is trained
        for control in (form.model, form.method, form.epochs, form.accumulation, form.checkpointing):
            control.observe(self.errors.guard(lambda change: self.cost.refresh()), "value")
        self.tabs = w.Tab([self.packing, self.inspector, self.training, self.export])
        for at, title in enumerate(_TABS):
            self.tabs.set_title(at, title)

    def _training_settings(self) -> dict:
        return {"model": self.training.form.model.value, **self.training.settings()}

    def _inspect(self, rows: list[int]) -> None:
        """Open the rows of points that were clicked or boxed."""
        self.inspector.show_many(rows, self.selection)
        self.tabs.selected_index = _TABS.index("Rows")

    def _fitted(self) -> list[Fit]:
        """What needs code of its own in the browser."""
        if self._mode == "core":
            return []
        fit = Fit()
        fit.observe(self.errors.guard(self._with_webgl, clear=False), "webgl")
        fit.on_pick(self.errors.guard(self._inspect))
        self._label(fit)
        return [fit]

    def _label(self, fit: Fit) -> None:
        fit.labels = {
            ".workbench-controls .noUi-handle": "Keep, percent",
            ".workbench-bars .js-plotly-plot": self._bars.told,
            ".workbench-map .js-plotly-plot": self._map.told,
        }

    def _with_webgl(self, change) -> None:
        """More points, where the browser can draw them."""
        if change["new"] and len(self._map.rows) < len(self.ds):
            self._map.redraw(webgl=True)

    def _follow_live(self) -> None:
        if self.state.clustered_by != self._drawn_k:
            self._drawn_k = self.state.clustered_by
            self._bars.recluster()
            self._map.redraw()
        self._bars.update()
        if self._mode == "core":
            self.bars.redraw()

    def _follow_at_rest(self) -> None:
        self._map.update()
        if self._mode == "core":
            self.map.redraw()
        self.inspector.show(self.inspector.row, self.selection)
        self.export.refresh()
        self.cost.refresh()
        for fit in self.fit:
            self._label(fit)

    @property
    def selection(self) -> Selection | None:
        """What the controls choose at this moment; null while there is no score."""
        return self.state and self.state.selection

    @property
    def run(self):
        """The fine-tuning started last, or None."""
        return self.training.run if self.state else None

    def __repr__(self) -> str:
        """What is shown where neither widgets nor pictures are."""
        if not self.state:
            return f"<Workbench of {len(self.ds):,} rows, not scored yet>"
        return f"<Workbench of {len(self.ds):,} rows, {self.selection.report.n_kept:,} kept>"

    @property
    def _live(self) -> str:
        return f"workbench-{self.model_id}"

    def twin(self) -> Fallback:
        """The dashboard of this moment as a picture."""
        if not self.state:
            return Fallback(self._live, "")
        state = self.state
        pictures = [to_svg(view.figure, _HALF, view.told) for view in (self._bars, self._map)]
        halves = "".join(f'<div style="flex:1 1 400px">{picture}</div>' for picture in pictures)
        return Fallback(
            self._live,
            f"{numbers.shown(state.selection, None, state.plan)}"
            f'<div style="display:flex;flex-wrap:wrap">{halves}</div>',
        )

    def _ipython_display_(self, **kwargs) -> None:
        """The widget, and its twin for where there is none."""
        if "google.colab" in sys.modules:
            from google.colab import output

            output.enable_custom_widget_manager()
        if progress.in_notebook():
            display(self.twin())
        display(view_of(self), raw=True)


def _half(figure: w.Widget, name: str) -> w.Box:
    """A place that takes half of a wide page and all of a narrow one."""
    layout = w.Layout(flex="1 1 460px", min_width="0", overflow="hidden")
    # A column: it gives the figure its own width, where a row would take the figure's.
    return w.VBox([figure], layout=layout).add_class(f"workbench-{name}")

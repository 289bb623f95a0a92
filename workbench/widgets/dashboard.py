"""The dashboard: controls, numbers and figures of one state, and the panels that act on it."""

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
from .browser import MODES, Browser, Picture, responsive
from .controls import Controls
from .cost import CostPanel
from .export import ExportPanel
from .fallback import Fallback, view_of
from .numbers import Numbers
from .offer import Offer, missing
from .rows import Inspector
from .state import State
from .tasks import ErrorPanel
from .training import TrainingPanel
from .views import Bars, Map, PackingPreview

_PICTURE_WIDTH = 620  # pixels
_TABS = ("Packing", "Rows", "Fine-tune", "Export")


class Workbench(w.VBox):
    """A dashboard of `ds`: choose a budget, see what it keeps and costs, inspect rows, and train on them.

    Numbers, histogram and cluster shares follow the slider at once. Packing and the map are updated when it
    rests, as are new clusters and strategies that select again for each budget. For a table without scores,
    clusters or coordinates the dashboard offers to compute them. Pages without widgets show a picture.

    Parameters
    ----------
    ds : a table with `instruction` and `response` (str) and, unless they are to be computed, `ifd` (float),
        `n_tokens` (int), `cluster` (int), `x` and `y` (float). `embedding` (float32 [d]) adds coverage.
    ratio : share of the rows to keep, in (0, 1].
    strategy : a selection strategy; the menu has every registered one whose columns are in `ds`.
    max_length : maximum tokens per row, for packing and training.
    packing : a packing strategy.
    batch_size : samples per training step.
    model : the model for missing scores, for explanations, and to fine-tune.
    output_dir : folder of the run.
    interactive : "full", or "core" for pages with the core widgets of ipywidgets only: SVG pictures then
        replace the plotly widgets, and the map cannot be clicked.

    Attributes: `state` (settings), `selection` (the rows kept now) and `run` (the fine-tuning started last).
    Raises UserError if a setting is wrong or a column is missing that the dashboard cannot compute.
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
        super().__init__()
        self.add_class("workbench-dashboard").add_class(self._css_class)
        if missing(ds):
            self.ds = ds
            self.offer = Offer(ds, model, self.errors, self._build)
            self.children = [self.offer, self.errors]
        else:
            self._build(ds)

    def _build(self, ds: datasets.Dataset) -> None:
        """Build the parts that need a table with all columns."""
        self.ds = ds
        self.state = state = State(ds, errors=self.errors, **self._settings)
        self.controls, self.numbers = Controls(state), Numbers(state)
        self.ratio, self.strategy = self.controls.ratio, self.controls.strategy
        self._bars, self._map = Bars(state), Map(state)
        if self._mode == "full":
            self._bars.figure = responsive(self._bars.figure, tools=False)
            self._map.figure = responsive(self._map.figure)
            self.bars, self.map = self._bars.figure, self._map.figure
        else:
            self.bars, self.map = Picture(self._bars, _PICTURE_WIDTH), Picture(self._map, _PICTURE_WIDTH)
        self._build_panels(state)
        self._drawn_k = None
        state.on_change(self._follow_live)
        state.on_settle(self._follow_at_rest)
        side = w.VBox([self.controls, self.numbers, self.cost]).add_class("workbench-side")
        screen = w.Box([side, _pane(self.bars, "bars"), _pane(self.map, "map")]).add_class("workbench-screen")
        self.browser = self._browser()
        self.children = [self.errors, *self.browser, screen, self.tabs]
        state.touch()  # the first packing compiles code, so it comes after the first picture

    def _build_panels(self, state: State) -> None:
        """The panels that act on the selection, a tab each, and the predicted cost."""
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
        # The clustering is noted in the table of the selection, so the two always belong together.
        packed = lambda: {"pack": state.settings()["pack"]}  # noqa: E731
        self.export = ExportPanel(lambda: self.selection, packed, self.errors)
        self.cost = CostPanel(lambda: state.plan, self._training_settings, self.errors, state.price)
        form = self.training.form
        for control, setting in (
            (self.controls.packing, form.strategy),
            (self.controls.max_length, form.max_length),
            (self.controls.batch_size, form.batch_size),
        ):
            w.link((control, "value"), (setting, "value"))  # train with the packing that is shown
        for control in (form.model, form.method, form.epochs, form.accumulation, form.checkpointing):
            control.observe(self.errors.guard(lambda change: self.cost.refresh()), "value")
        self.tabs = w.Tab([self.packing, self.inspector, self.training, self.export])
        for at, title in enumerate(_TABS):
            self.tabs.set_title(at, title)

    def _training_settings(self) -> dict:
        return {"model": self.training.form.model.value, **self.training.settings()}

    def _inspect(self, rows: list[int]) -> None:
        """Open the rows of points that were clicked or selected on the map."""
        self.inspector.show_many(rows, self.selection)
        self.tabs.selected_index = _TABS.index("Rows")

    def _browser(self) -> list[Browser]:
        """The widget with code in the browser; none in the "core" mode."""
        if self._mode == "core":
            return []
        browser = Browser()
        browser.observe(self.errors.guard(self._use_webgl, clear=False), "webgl")
        browser.on_pick(self.errors.guard(self._inspect))
        self._label(browser)
        return [browser]

    def _label(self, browser: Browser) -> None:
        browser.labels = {
            ".workbench-keep .noUi-handle": "Keep, percent",
            ".workbench-band .noUi-handle": "Band, quantile",
            ".workbench-bars .js-plotly-plot": self._bars.label,
            ".workbench-map .js-plotly-plot": self._map.label,
        }

    def _use_webgl(self, change) -> None:
        """Draw more points if the browser can."""
        if change["new"] and len(self._map.rows) < len(self.ds):
            self.state.submit(lambda: self._map.redraw(webgl=True))

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
        for browser in self.browser:
            self._label(browser)

    @property
    def selection(self) -> Selection | None:
        """The selection of the current settings, computed first if it is not yet; None without scores."""
        return self.state and self.state.settle()

    @property
    def run(self):
        """The run in the folder of the panel, usually the one started last, or None."""
        return self.training.run if self.state else None

    def __repr__(self) -> str:
        """The text on pages without widgets and pictures."""
        if not self.state:
            return f"<Workbench of {len(self.ds):,} rows, not scored yet>"
        return f"<Workbench of {len(self.ds):,} rows, {self.state.selection.report.n_kept:,} kept>"

    @property
    def _css_class(self) -> str:
        return f"workbench-{self.model_id}"

    def twin(self) -> Fallback:
        """A picture of the current dashboard, which hides itself while the widget is on the page."""
        if not self.state:
            return Fallback(self._css_class, "")
        state = self.state
        pictures = [to_svg(view.figure, _PICTURE_WIDTH, view.label) for view in (self._bars, self._map)]
        halves = "".join(f'<div style="flex:1 1 400px">{picture}</div>' for picture in pictures)
        return Fallback(
            self._css_class,
            f"{numbers.html_of(state.selection, None, state.plan)}"
            f'<div style="display:flex;flex-wrap:wrap">{halves}</div>',
        )

    def _ipython_display_(self, **kwargs) -> None:
        """Display the widget and, in a notebook, the picture for pages without widgets."""
        if "google.colab" in sys.modules:
            from google.colab import output

            output.enable_custom_widget_manager()
        if progress.in_notebook():
            display(self.twin())
        display(view_of(self), raw=True)


def _pane(figure: w.Widget, name: str) -> w.Box:
    """A box for a figure of the screen."""
    # A VBox, because it sets the width of the figure; an HBox would take it from the figure.
    return w.VBox([figure]).add_class(f"workbench-{name}")

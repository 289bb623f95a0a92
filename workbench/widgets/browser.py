"""Figures on the page: plotly widgets that fit their container, or SVG pictures."""

from collections.abc import Callable

import anywidget
import ipywidgets as w
import plotly.graph_objects as go
import traitlets

from ..figures import to_svg

MODES = ("full", "core")  # with plotly widgets, or with the core widgets of ipywidgets only


def responsive(figure: go.Figure, tools: bool = True) -> go.FigureWidget:
    """`figure` as a widget that a `Browser` keeps as large as its container, with or without a tool bar."""
    widget = go.FigureWidget(figure)
    widget.layout.height = None
    widget._config = {**widget._config, "responsive": True, "displaylogo": False}
    if not tools:
        widget._config = {**widget._config, "displayModeBar": False}
    return widget


class Picture(w.HTML):
    """The figure of a view as SVG. It has no interaction, and needs no plotly on the page."""

    def __init__(self, view, width: int):
        super().__init__(layout=w.Layout(width="100%"))
        self._view, self._width = view, width
        self.redraw()

    def redraw(self) -> None:
        """Draw the current figure of the view."""
        self.value = to_svg(self._view.figure, self._width, self._view.label)


class Browser(anywidget.AnyWidget):
    """An invisible widget that does what plotly's FigureWidget does not do in the browser.

    It resizes the figures of the dashboard to their container: plotly draws them 700 pixels wide before they
    are on the page, and resizes them only with the window, not when a side bar opens.

    It reports the rows that are clicked or selected on the map (see `on_pick`). FigureWidget overwrites
    pending events while the kernel is busy, so a selection could be lost to the hover event that follows it.

    `webgl` is whether the browser supports WebGL, None until known. `labels` maps CSS selectors inside the
    dashboard to the text that screen readers read there.
    """

    webgl = traitlets.Bool(None, allow_none=True).tag(sync=True)
    labels = traitlets.Dict().tag(sync=True)

    _esm = """
    const has_webgl = () => {
      try {
        return Boolean(document.createElement("canvas").getContext("webgl"));
      } catch {
        return false;
      }
    };
    export default {
      render({ model, el }) {
        const redraw = () => requestAnimationFrame(() => window.dispatchEvent(new Event("resize")));
        const label = () => {
          const around = el.closest(".workbench-dashboard") ?? document;
          for (const [selector, text] of Object.entries(model.get("labels"))) {
            around.querySelectorAll(selector).forEach((element) => {
              element.setAttribute("aria-label", text);
              if (element.matches(".js-plotly-plot")) element.setAttribute("role", "img");
              // Notebook 7 takes the arrow keys for its own, except here.
              element.setAttribute("data-lm-suppress-shortcuts", "true");
            });
          }
        };
        const send = (event) => {
          const points = (event?.points ?? []).filter((point) => point.customdata != null);  // no labels
          const rows = new Set(points.map((point) => point.customdata));
          if (rows.size) model.send({ rows: [...rows] });
        };
        const listen = () => {
          const map = el.closest(".workbench-dashboard")?.querySelector(".workbench-map .js-plotly-plot");
          if (!map?.on || map.sendsRows) return;
          map.sendsRows = true;
          map.on("plotly_selected", send);
          map.on("plotly_click", send);
        };
        const drawn = () => { redraw(); label(); listen(); };
        const observer = new ResizeObserver(redraw);
        observer.observe(el);
        document.addEventListener("plotlywidget-after-render", drawn);
        model.on("change:labels", label);
        setTimeout(() => { label(); listen(); }, 0);
        model.set("webgl", has_webgl());
        model.save_changes();
        return () => {
          observer.disconnect();
          document.removeEventListener("plotlywidget-after-render", drawn);
        };
      },
    };
    """

    def on_pick(self, listener: Callable[[list[int]], None]) -> None:
        """Call `listener` with the rows of points that are clicked or selected with box or lasso."""
        self.on_msg(lambda widget, content, buffers: listener(content["rows"]))

"""Figures on the page: as wide as the notebook, told to screen readers, or as plain pictures."""

from collections.abc import Callable

import anywidget
import ipywidgets as w
import plotly.graph_objects as go
import traitlets

from ..figures import to_svg

MODES = ("full", "core")  # plotly's widgets, or nothing but what every ipywidgets has


def responsive(figure: go.Figure) -> go.FigureWidget:
    """`figure` as a widget that takes its width from the page whenever a `Fit` tells it to."""
    widget = go.FigureWidget(figure)
    widget._config = {**widget._config, "responsive": True, "displaylogo": False}
    return widget


class Picture(w.HTML):
    """A view's figure as SVG, drawn anew when it is told to: nothing to click, but it needs no plotly."""

    def __init__(self, view, width: int):
        super().__init__(layout=w.Layout(width="100%"))
        self._view, self._width = view, width
        self.redraw()

    def redraw(self) -> None:
        """Show the view's figure as it is now."""
        self.value = to_svg(self._view.figure, self._width, self._view.told)


class Fit(anywidget.AnyWidget):
    """Sees the width that a box has, and has the figures beside it drawn to it.

    plotly draws a FigureWidget before it is on the page, 700 pixels wide, and looks again only when the
    window changes its size, which opening a side bar does not. `webgl` is whether the browser has it, null
    until known; `labels` maps CSS selectors inside the dashboard to what screen readers say there.

    It also tells which rows are picked on the map: FigureWidget's own events take each other's place while
    the kernel is busy, and a box drawn quickly would be lost to the hovering after it.
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
            around.querySelectorAll(selector).forEach((found) => {
              found.setAttribute("aria-label", text);
              if (found.matches(".js-plotly-plot")) found.setAttribute("role", "img");
            });
          }
        };
        const tell = (event) => {
          const rows = new Set((event?.points ?? []).map((point) => point.customdata));
          if (rows.size) model.send({ rows: [...rows] });
        };
        const listen = () => {
          const map = el.closest(".workbench-dashboard")?.querySelector(".workbench-map .js-plotly-plot");
          if (!map?.on || map.tellsRows) return;
          map.tellsRows = true;
          map.on("plotly_selected", tell);
          map.on("plotly_click", tell);
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
        """Call `listener` with the rows of points that are clicked or selected with a box or lasso."""
        self.on_msg(lambda widget, content, buffers: listener(content["rows"]))

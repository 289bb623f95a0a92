"""Figures as wide as the notebook."""

import anywidget
import plotly.graph_objects as go


def responsive(figure: go.Figure) -> go.FigureWidget:
    """`figure` as a widget that takes its width from the page whenever a `Fit` tells it to."""
    widget = go.FigureWidget(figure)
    widget._config = {**widget._config, "responsive": True, "displaylogo": False}
    return widget


class Fit(anywidget.AnyWidget):
    """Sees the width that a box has, and has the figures beside it drawn to it.

    plotly draws a FigureWidget before it is on the page, 700 pixels wide, and looks again only when the
    window changes its size, which opening a side bar does not.
    """

    _esm = """
    export default {
      render({ el }) {
        const redraw = () => requestAnimationFrame(() => window.dispatchEvent(new Event("resize")));
        const observer = new ResizeObserver(redraw);
        observer.observe(el);
        document.addEventListener("plotlywidget-after-render", redraw);
        return () => {
          observer.disconnect();
          document.removeEventListener("plotlywidget-after-render", redraw);
        };
      },
    };
    """

"""The common look of all figures.

The colours are those of Okabe and Ito, which people with any colour vision can distinguish.
Backgrounds are transparent and text is mid-grey, so that figures are readable on light and dark pages.
"""

import plotly.graph_objects as go

KEPT, LEFT_OUT, ACCENT = "#0072B2", "#BBBBBB", "#D55E00"
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star")
TEXT = "#787878"
_GRID = "rgba(136,136,136,0.25)"
_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


def style(figure: go.Figure, height: int = 360) -> go.Figure:
    """Apply the common look to `figure`, with `height` in pixels, and return it."""
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": TEXT, "size": 12, "family": _FONT},
        title={"font_size": 17, "x": 0, "xref": "paper", "xanchor": "left"},
        margin={"l": 60, "r": 20, "t": 70, "b": 50},
        height=height,
        autosize=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"align": "left"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": TEXT, "activecolor": KEPT},
        newselection_line_color=TEXT,
    )
    figure.update_xaxes(gridcolor=_GRID, zerolinecolor=_GRID, showgrid=False, title_standoff=8)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_GRID, title_standoff=8)
    figure.update_traces(marker_line_width=0, selector={"type": "bar"})  # the default outline is white
    return figure

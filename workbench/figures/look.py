"""The common look of all figures.

The colours are those of Okabe and Ito, which people with any colour vision can distinguish.
Backgrounds are transparent and text is mid-grey, so that figures are readable on light and dark pages.
"""

import plotly.graph_objects as go

KEPT, LEFT_OUT, ACCENT = "#0072B2", "#BBBBBB", "#D55E00"
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
# Of clusters: no blue and no grey, which mean kept and left out in every figure.
CLUSTERS = (
    *("#E69F00", "#009E73", "#C8509B", "#8C5A2B", "#8E4EC6", "#76B041", "#E5484D", "#A89B00"),
    *("#2BB5A0", "#FF8A65", "#7A2E6B", "#F2C200"),
)
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star")
_CHARACTERS = dict(zip(SYMBOLS, "●■◆✚✖▲▼★", strict=True))
FAINT = "#8C8C8C"  # left out, as small points
TEXT = "#767676"  # between black and white: readable on both
_GRID = "rgba(136,136,136,0.25)"
_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


def look_of(label: int) -> tuple[str, str]:
    """Colour and symbol of a cluster; 96 clusters look different."""
    turn, at = divmod(label, len(CLUSTERS))
    return CLUSTERS[at], SYMBOLS[(at + turn) % len(SYMBOLS)]


def swatch(label: int) -> str:
    """Colour and symbol of a cluster as markup for an axis of plotly."""
    color, symbol = look_of(label)
    return f'<span style="color:{color}">{_CHARACTERS[symbol]}</span>'


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

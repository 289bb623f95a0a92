"""What a selection keeps: bars of complexity, clusters and padding."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .look import ACCENT, KEPT, LEFT_OUT, style

_FEWEST_BINS, _MOST_BINS = 20, 50


def ifd_bins(ifd: np.ndarray) -> np.ndarray:
    """Edges of the histogram's bins, with one at 1.0: rows above it are not eligible."""
    scored = ifd[np.isfinite(ifd)]
    if not len(scored):
        return np.array([0.0, 1.0])
    # The few far above 1 would squeeze the rest into a corner; they share the last bin.
    low, high = min(0.95, scored.min()), max(1.05, np.quantile(scored, 0.995))
    width = (high - low) / np.clip(2 * np.sqrt(len(scored)), _FEWEST_BINS, _MOST_BINS)
    return 1.0 + width * np.arange(np.floor((low - 1.0) / width), np.ceil((high - 1.0) / width) + 1)


def binned(ifd: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Rows in each bin; scores beyond the last edge count into the last bin."""
    scored = ifd[np.isfinite(ifd)]
    return np.histogram(np.clip(scored, edges[0], edges[-1]), edges)[0]


def histogram_traces(ifd: np.ndarray, kept: np.ndarray) -> list[go.Bar]:
    """Bars of all rows and, in front of them, of the kept ones. ifd [n], kept [n] bool."""
    edges = ifd_bins(ifd)
    middles, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    shared = {"x": middles, "width": width, "hovertemplate": "IFD %{x:.3f}: %{y} rows<extra></extra>"}
    return [
        go.Bar(y=binned(ifd, edges), name="all rows", marker_color=LEFT_OUT, **shared),
        go.Bar(y=binned(ifd[kept], edges), name="kept", marker_color=KEPT, **shared),
    ]


def limit_line(figure: go.Figure, **where) -> None:
    """Mark IFD 1, from which on the instruction makes the response less likely."""
    figure.add_vline(
        x=1.0,
        line_dash="dash",
        line_color=ACCENT,
        annotation={"text": "left out", "font_color": ACCENT, "xanchor": "left", "xshift": -4},
        annotation_position="top",
        **where,
    )


def complexity_histogram(ifd: np.ndarray, kept: np.ndarray) -> go.Figure:
    """How complex the rows are, and which of them are kept."""
    figure = go.Figure(histogram_traces(ifd, kept))
    limit_line(figure)
    figure.update_layout(
        title="Complexity: IFD of each row",
        barmode="overlay",
        xaxis_title="IFD",
        yaxis_title="rows",
        bargap=0,
    )
    return style(figure)


def share_traces(clusters: pd.DataFrame) -> list[go.Bar]:
    """For each cluster its share (%) of all rows and of the kept ones."""
    names = [str(label) for label in clusters["cluster"]]
    hover = "cluster %{x}: %{y:.1f} %<extra></extra>"
    return [
        go.Bar(
            x=names,
            y=100 * clusters["of_all"],
            name="of all rows",
            marker_color=LEFT_OUT,
            hovertemplate=hover,
        ),
        go.Bar(
            x=names, y=100 * clusters["of_kept"], name="of kept rows", marker_color=KEPT, hovertemplate=hover
        ),
    ]


def cluster_coverage(clusters: pd.DataFrame) -> go.Figure:
    """Whether the selection keeps the clusters' proportions."""
    figure = go.Figure(share_traces(clusters))
    figure.update_layout(
        title="Consistency: share of each cluster",
        xaxis_title="cluster",
        yaxis_title="% of rows",
        xaxis_type="category",
    )
    return style(figure)


def padding_trace(rates: dict[str, float]) -> go.Bar:
    """Padding (%) of each packing strategy."""
    percent = [100 * rate for rate in rates.values()]
    return go.Bar(
        x=list(rates),
        y=percent,
        text=[f"{value:.1f} %" for value in percent],
        textposition="outside",
        cliponaxis=False,
        name="padding",
        marker_color=ACCENT,
        hovertemplate="%{x}: %{y:.2f} % of computed tokens are padding<extra></extra>",
        showlegend=False,
    )


def padding_rates(rates: dict[str, float]) -> go.Figure:
    """What each packing strategy wastes on padding."""
    figure = go.Figure(padding_trace(rates))
    figure.update_layout(title="Padding", xaxis_title="packing strategy", yaxis_title="% of computed tokens")
    figure.update_yaxes(range=[0, 100])
    return style(figure)

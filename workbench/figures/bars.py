"""Bars of a selection: complexity, clusters and padding."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..core.texts import for_hover
from .look import ACCENT, KEPT, LEFT_OUT, style, swatch

_MIN_BINS, _MAX_BINS = 20, 50


def ifd_bins(ifd: np.ndarray) -> np.ndarray:
    """Edges (float64, ascending) of 20 to 50 equal histogram bins.

    One edge is at 1.0, from which rows are not eligible. `ifd` is float [n]; NaN is ignored.
    """
    scored = ifd[np.isfinite(ifd)]
    if not len(scored):
        return np.array([0.0, 1.0])
    # A few scores far above 1 would squeeze the rest; they share the last bin.
    low, high = min(0.95, scored.min()), max(1.05, np.quantile(scored, 0.995))
    width = (high - low) / np.clip(2 * np.sqrt(len(scored)), _MIN_BINS, _MAX_BINS)
    return 1.0 + width * np.arange(np.floor((low - 1.0) / width), np.ceil((high - 1.0) / width) + 1)


def score_bins(score: np.ndarray) -> np.ndarray:
    """Edges (float64, ascending) of 20 to 50 equal bins over `score`, float [n]; NaN is ignored."""
    values = score[np.isfinite(score)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    n_bins = int(np.clip(2 * np.sqrt(len(values)), _MIN_BINS, _MAX_BINS))
    return np.linspace(low, high if high > low else low + 1, n_bins + 1)


def binned(ifd: np.ndarray, edges: np.ndarray) -> list[int]:
    """Number of rows in each bin. Scores beyond the edges count into the outer bins, NaN into none."""
    scored = ifd[np.isfinite(ifd)]
    return np.histogram(np.clip(scored, edges[0], edges[-1]), edges)[0].tolist()


def histogram_traces(
    ifd: np.ndarray, kept: np.ndarray, edges: np.ndarray | None = None, name: str = "IFD"
) -> list[go.Bar]:
    """Bars of the kept rows and, stacked on them, of the others.

    `ifd` is float [n] and may hold NaN; `kept` is bool [n]. Another score has its own `name` and `edges`.
    """
    # Lists: the page reports bars of arrays back as changed, on which FigureWidget fails (plotly.py #4160).
    edges = ifd_bins(ifd) if edges is None else edges
    middles, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
    shared = {"x": middles.tolist(), "width": width}
    return [
        go.Bar(
            y=binned(ifd[mask], edges),
            name=group,
            marker_color=color,
            hovertemplate=f"{for_hover(name, 60)} %{{x:.4g}}: %{{y:,}} {group}<extra></extra>",
            **shared,
        )
        for mask, group, color in ((kept, "kept", KEPT), (~kept, "left out", LEFT_OUT))
    ]


def limit_line(figure: go.Figure, **subplot) -> None:
    """Mark IFD 1, from which the instruction does not make the response likelier.

    `subplot` is `row` and `col`, if the figure has several.
    """
    figure.add_vline(
        x=1.0,
        line_dash="dash",
        line_color=ACCENT,
        annotation={"text": "not eligible", "textangle": -90, "font_color": ACCENT},
        annotation_position="top right",
        **subplot,
    )


def cut_shape(cut: tuple[float, float] | None, xref: str = "x", yref: str = "y domain") -> dict:
    """The cut as a shape of a layout: a line, or a band if the clusters have different cuts.

    `cut` is the lowest and the highest IFD cut (see `selection.ifd_cut`); None gives an invisible shape.
    """
    low, high = cut or (0.0, 0.0)
    line = {"color": KEPT, "width": 2}
    return {
        "type": "rect",
        **{"x0": low, "x1": high, "y0": 0, "y1": 1, "xref": xref, "yref": yref},
        **{"line": line, "fillcolor": KEPT, "opacity": 0.3, "layer": "above", "visible": cut is not None},
    }


def cut_note(
    cut: tuple[float, float] | None,
    xref: str = "x",
    yref: str = "y domain",
    name: str = "cuts of the clusters",
) -> dict:
    """The label of `cut_shape`, named `name` if it is a range, as an annotation above it; empty if None."""
    low, high = cut or (0.0, 0.0)
    text = f"cut at {low:.3f}" if low == high else f"{name}: {low:.3f} to {high:.3f}"
    return {
        "text": text if cut else "",
        **{"x": (low + high) / 2, "y": 1, "xref": xref, "yref": yref, "showarrow": False},
        **{"yanchor": "bottom", "xanchor": "right" if cut else "center", "font": {"color": KEPT}},
    }


def complexity_histogram(
    ifd: np.ndarray, kept: np.ndarray, cut: tuple[float, float] | None = None
) -> go.Figure:
    """Histogram of IFD, kept rows and others stacked.

    Parameters
    ----------
    ifd : float [n], may hold NaN (not scored).
    kept : bool [n].
    cut : lowest and highest IFD cut, from `selection.ifd_cut`; drawn unless None.
    """
    figure = go.Figure(histogram_traces(ifd, kept))
    limit_line(figure)
    if cut:
        figure.add_shape(cut_shape(cut))
        figure.add_annotation(cut_note(cut))
    figure.update_layout(
        title="Complexity: IFD of each row",
        barmode="stack",
        xaxis_title="IFD",
        yaxis_title="rows",
        bargap=0,
    )
    style(figure)
    return figure.update_layout(legend_y=1.08, margin_t=90)


def share_traces(clusters: pd.DataFrame, names: dict[int, str] | None = None) -> list[go.Bar]:
    """Share (%) of each cluster of all rows and of the kept rows, as two bars above each other.

    `clusters` has the columns `cluster` (int), `of_all` and `of_kept` (shares, 0 to 1), as in
    `Selection.report`. `names` (`wb.cluster_names`) are added to the labels.
    """
    labels = cluster_labels(clusters["cluster"].tolist(), names)
    # With a base they stay side by side even if other bars of the figure are stacked.
    shared = {"y": labels, "orientation": "h", "base": 0, "width": 0.36}
    shares = (("of_all", "of all rows", LEFT_OUT, -0.38), ("of_kept", "of kept rows", KEPT, 0.02))
    return [
        go.Bar(
            x=(100 * clusters[column]).tolist(),
            name=name,
            marker_color=color,
            offset=offset,
            hovertemplate=f"%{{y}}: %{{x:.1f}} % {name}<extra></extra>",
            **shared,
        )
        for column, name, color, offset in shares
    ]


def share_axis(clusters: pd.DataFrame, names: dict[int, str] | None = None) -> dict:
    """The category axis of `share_traces`: each cluster with its sign on the map and a shortened name."""
    labels = clusters["cluster"].tolist()
    short = [f"{label} · {for_hover(names[label], 20)}" if names else str(label) for label in labels]
    return {
        "type": "category",
        "tickvals": cluster_labels(labels, names),
        "ticktext": [f"{swatch(label)} {name}" for label, name in zip(labels, short, strict=True)],
        "tickfont": {"size": 11 if len(labels) <= 24 else 9},
        "autorange": "reversed",
        "showgrid": False,
    }


def cluster_labels(labels: list[int], names: dict[int, str] | None) -> list[str]:
    """Clusters as a legend or an axis shows them: the label and, if there are names, the name."""
    return [f"{label} · {for_hover(names[label], 60)}" if names else str(label) for label in labels]


def cluster_coverage(clusters: pd.DataFrame, names: dict[int, str] | None = None) -> go.Figure:
    """Whether the selection keeps the proportions of the clusters.

    Parameters
    ----------
    clusters : `Selection.report.clusters`: `cluster` (int), `of_all` and `of_kept` (shares, 0 to 1).
    names : cluster -> name, from `wb.cluster_names`.
    """
    figure = go.Figure(share_traces(clusters, names))
    figure.update_layout(title="Consistency: share of each cluster", xaxis_title="% of rows")
    figure.update_yaxes(share_axis(clusters, names), automargin=True)
    return style(figure, height=150 + 24 * len(clusters)).update_yaxes(showgrid=False)


def padding_trace(rates: dict[str, float]) -> go.Bar:
    """Bars of `rates`, packing strategy -> share of padding (0 to 1)."""
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
    """Share of the computed tokens that is padding, for each packing strategy.

    Parameters
    ----------
    rates : name -> `PackPlan.padding_rate` (0 to 1).
    """
    figure = go.Figure(padding_trace(rates))
    figure.update_layout(title="Padding", xaxis_title="packing strategy", yaxis_title="% of computed tokens")
    figure.update_yaxes(range=[0, 100])
    return style(figure)

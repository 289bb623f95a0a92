"""The map of the instructions: rows as points, coloured by cluster."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..core.texts import for_hover
from .bars import cluster_labels
from .look import FAINT, TEXT, look_of, style

_MAX_NAMED = 20  # clusters that fit into a legend
_MAX_WORDED = 16  # clusters whose labels on the map hold a word of the name
_EXCERPT = 90  # characters of an instruction in a tooltip
_BINS = 48  # of the density, per axis
SVG_POINTS = 2_000  # points drawn without WebGL at most


def map_traces(
    table: pd.DataFrame, kept: np.ndarray, names: dict[int, str] | None = None, webgl: bool = False
) -> list[go.Scatter | go.Scattergl]:
    """All rows, small and grey, and the kept ones on top in the colours of their clusters.

    `table` has the columns `x`, `y` (float), `cluster` (int) and `instruction` (str, may be missing); `kept`
    is bool [n]. The `customdata` of a point is its index in `table`. Texts are escaped, because plotly
    interprets markup.
    """
    grey = {"color": FAINT, "symbol": "circle", "size": 5, "opacity": 0.55, "line": {"width": 0}}
    return [_points(table, names, webgl, "all rows", grey), points_kept(table[kept], names, webgl)]


def points_kept(
    table: pd.DataFrame, names: dict[int, str] | None = None, webgl: bool = False
) -> go.Scatter | go.Scattergl:
    """The rows of `table` as `map_traces` draws kept rows."""
    on_top = {"size": 9, "opacity": 1.0, "line": {"width": 1, "color": TEXT}}
    return _points(table, names, webgl, "kept", on_top)


def _points(table: pd.DataFrame, names: dict[int, str] | None, webgl: bool, name: str, marker: dict):
    labels = table["cluster"].tolist()
    present = sorted(set(labels))
    display = dict(zip(present, cluster_labels(present, names), strict=True))
    texts = [for_hover(text, _EXCERPT) for text in table["instruction"].fillna("")]
    looks = [look_of(label) for label in labels]
    return (go.Scattergl if webgl else go.Scatter)(
        x=table["x"].to_numpy(),
        y=table["y"].to_numpy(),
        mode="markers",
        name=name,
        marker={"color": [look[0] for look in looks], "symbol": [look[1] for look in looks]} | marker,
        text=[f"{display[label]}<br>{text}" for label, text in zip(labels, texts, strict=True)],
        customdata=table.index.to_numpy(),
        hovertemplate="row %{customdata}, %{text}<extra></extra>",
        showlegend=False,
    )


def label_trace(table: pd.DataFrame, names: dict[int, str] | None = None) -> go.Scatter:
    """The number of each cluster at its median place; up to 16 clusters also the first word of their names.

    `table` is that of `map_traces`.
    """
    places = table.groupby("cluster")[["x", "y"]].median()
    labels = places.index.tolist()
    worded = names and len(labels) <= _MAX_WORDED
    texts = [for_hover(names[label].split(",")[0], 20) if worded else "" for label in labels]
    return go.Scatter(
        x=places["x"].tolist(),
        y=places["y"].tolist(),
        mode="text",
        text=[f"<b>{label}</b> {text}".strip() for label, text in zip(labels, texts, strict=True)],
        textfont={"size": 12},
        hoverinfo="skip",
        showlegend=False,
        name="clusters",
    )


def density(x: np.ndarray, y: np.ndarray) -> go.Heatmap:
    """Log10 of the number of rows in each of 48 x 48 bins, drawn faintly behind a sample of the points.

    `x` and `y` are float [n]; an empty trace if n is 0.
    """
    if not len(x):
        return go.Heatmap(name="density of all rows", showlegend=False, showscale=False)
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=_BINS)
    return go.Heatmap(
        x=(x_edges[:-1] + x_edges[1:]) / 2,
        y=(y_edges[:-1] + y_edges[1:]) / 2,
        # None instead of NaN, because widgets send JSON.
        z=np.where(counts.T > 0, np.log10(np.maximum(counts.T, 1)), None).tolist(),
        colorscale=[[0, "rgba(136,136,136,0.10)"], [1, "rgba(136,136,136,0.65)"]],
        showscale=False,
        showlegend=False,
        hoverinfo="skip",
        name="density of all rows",
    )


def legend_traces(labels: list[int], names: dict[int, str] | None) -> list[go.Scatter]:
    """Empty traces, which show colour, symbol and name of each cluster; none beyond 20 clusters."""
    if len(labels) > _MAX_NAMED:
        return []
    traces = []
    for label, name in zip(labels, cluster_labels(labels, names), strict=True):
        color, symbol = look_of(label)
        marker = {"color": color, "symbol": symbol, "size": 10}
        traces.append(go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker))
    return traces


def coverage_map(
    table: pd.DataFrame,
    kept: np.ndarray,
    made: dict | None = None,
    names: dict[int, str] | None = None,
    webgl: bool | None = None,
) -> go.Figure:
    """Map of the instructions with the kept rows on top. Its distances are illustrative (UMAP).

    Parameters
    ----------
    table : columns `x`, `y` (float), `cluster` (int) and `instruction` (str).
    kept : bool [n].
    made : how the projection was made, from `tables.noted(ds, "projection")`; the title then says if the
        layout was fitted on a part of the rows.
    names : cluster -> name, from `wb.cluster_names`.
    webgl : whether to draw with WebGL; by default beyond 2,000 rows.
    """
    webgl = len(table) > SVG_POINTS if webgl is None else webgl
    figure = go.Figure(map_traces(table, kept, names, webgl))
    figure.add_traces(legend_traces(np.unique(table["cluster"]).tolist(), names))
    style(figure, height=520)
    title = map_title(made)
    figure.update_layout(
        title=title,
        margin_t=54 + 16 * title.count("<br>"),
        legend={"title_text": "", "x": 0, "y": -0.06, "yanchor": "top", "itemsizing": "constant"},
        legend_itemclick=False,
        legend_itemdoubleclick=False,
    )
    figure.update_xaxes(title="", showticklabels=False, zeroline=False)
    figure.update_yaxes(title="", showticklabels=False, zeroline=False, showgrid=False)
    return figure


def map_title(made: dict | None = None, note: str = "") -> str:
    """The title and, smaller, a legend, a `note` and how many rows the layout was fitted on."""
    lines = ["in colour: kept · grey: left out · distances are illustrative (UMAP)", note]
    if made and made["fitted_rows"] < made["rows"]:
        lines.append(f"layout fitted on {made['fitted_rows']:,} of {made['rows']:,} rows")
    return "Map of the instructions" + "".join(f"<br><sub>{line}</sub>" for line in lines if line)

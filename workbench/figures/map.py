"""The map of the instructions."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..texts import for_hover
from .look import PALETTE, SYMBOLS, TEXT, style

_MOST_NAMED = 20  # clusters that fit into a legend


def _look(label: int) -> tuple[str, str]:
    """Colour and symbol of a cluster; both repeat after eight, shifted so that 64 clusters look different."""
    turn, at = divmod(label, len(PALETTE))
    return PALETTE[at], SYMBOLS[(at + turn) % len(SYMBOLS)]


def map_traces(table: pd.DataFrame, kept: np.ndarray) -> list[go.Scattergl]:
    """All rows by cluster, small and faint, and the kept ones on top.

    `table` has x, y, cluster and instruction.
    """
    label = table["cluster"].to_numpy()
    texts = table["instruction"].map(lambda text: for_hover(text or "", 90))
    colors, symbols = (np.array(values) for values in zip(*map(_look, label.tolist()), strict=True))
    hover = "cluster %{customdata}<br>%{text}<extra></extra>"

    def trace(rows, name, **marker):
        return go.Scattergl(
            x=table["x"].to_numpy()[rows],
            y=table["y"].to_numpy()[rows],
            mode="markers",
            name=name,
            marker={"color": colors[rows].tolist(), "symbol": symbols[rows].tolist(), **marker},
            text=texts.iloc[rows],
            customdata=label[rows],
            hovertemplate=hover,
            showlegend=False,
        )

    return [
        trace(np.arange(len(table)), "all rows", size=6, opacity=0.45, line={"width": 0}),
        trace(np.flatnonzero(kept), "kept", size=10, opacity=1.0, line={"width": 1, "color": TEXT}),
    ]


def coverage_map(table: pd.DataFrame, kept: np.ndarray, made: dict | None = None) -> go.Figure:
    """Where the kept rows lie among all. Distances on it are illustrative (UMAP).

    `made`, from `tables.noted(ds, "projection")`, tells whether the layout was fitted on fewer than all rows.
    """
    sampled = bool(made) and made["fitted_rows"] < made["rows"]
    figure = go.Figure(map_traces(table, kept))
    labels = np.unique(table["cluster"]).tolist()
    for label in labels if len(labels) <= _MOST_NAMED else ():  # traces for the legend only
        color, symbol = _look(label)
        marker = {"color": color, "symbol": symbol, "size": 10}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=str(label), marker=marker)
    style(figure, height=460)
    figure.update_layout(
        title="Coverage: map of the instructions"
        "<br><sub>large: kept, small: all rows · distances are illustrative (UMAP), "
        "numbers come from the embedding space"
        + (f" · layout fitted on {made['fitted_rows']:,} of {made['rows']:,} rows" if sampled else "")
        + "</sub>",
        legend={"orientation": "v", "title_text": "cluster", "x": 1.01, "y": 1, "yanchor": "top"},
        legend_itemclick=False,
        legend_itemdoubleclick=False,
    )
    figure.update_xaxes(title="UMAP 1", showticklabels=False, zeroline=False)
    figure.update_yaxes(title="UMAP 2", showticklabels=False, zeroline=False, showgrid=False)
    return figure

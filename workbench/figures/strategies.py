"""Figures that compare selection strategies and numbers of clusters."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .look import ACCENT, KEPT, LEFT_OUT, PALETTE, TEXT, style


def comparison(metrics: pd.DataFrame) -> go.Figure:
    """Metrics of strategies at equal budget, a panel per metric, over the range of random draws (shaded).

    Metrics that are equal for all strategies are left out.

    Parameters
    ----------
    metrics : `metrics` of `wb.compare`: a row per metric, a column per strategy, and the columns
        `random 5 %` and `random 95 %`.
    """
    metrics = metrics[metrics.nunique(axis=1) > 1]
    names = [name for name in metrics.columns if not name.startswith("random ")]
    titles = [name.replace("_", " ") for name in metrics.index]
    columns = 3
    rows = max(1, -(-len(metrics) // columns))
    figure = make_subplots(rows, columns, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for i, (_, line) in enumerate(metrics.iterrows()):
        low, high = line["random 5 %"], line["random 95 %"]
        # Bars of full width: unlike a shape, they extend the range of the panel.
        chance = go.Bar(
            x=[high - low] * len(names),
            y=names,
            base=low,
            width=1,
            orientation="h",
            marker={"color": LEFT_OUT, "opacity": 0.5},
            hoverinfo="skip",
            showlegend=False,
        )
        points = go.Scatter(
            x=line[names],
            y=names,
            mode="markers",
            marker={"color": [PALETTE[(4 + k) % len(PALETTE)] for k in range(len(names))], "size": 10},
            hovertemplate="%{y}: %{x:.4g}<extra></extra>",
            showlegend=False,
        )
        figure.add_traces([chance, points], rows=i // columns + 1, cols=i % columns + 1)
    style(figure, height=110 + (85 + 22 * len(names)) * rows)
    figure.update_annotations(font_size=13)
    figure.update_layout(
        title="Strategies at equal budget<br><sub>shaded: the middle 90 % of random draws of that size</sub>",
        margin_t=110,
    )
    figure.update_xaxes(nticks=5)
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def overlap(shares: pd.DataFrame) -> go.Figure:
    """Share of rows in common for each pair of strategies, e.g. the Jaccard index.

    Parameters
    ----------
    shares : square table of shares (0 to 1) with the strategies as index and columns.
    """
    figure = go.Figure(
        go.Heatmap(
            x=list(shares.columns),
            y=list(shares.index),
            z=shares.to_numpy(),
            zmin=0,
            zmax=1,
            colorscale="Cividis",
            texttemplate="%{z:.2f}",
            hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
        )
    )
    figure.update_layout(title="Rows in common")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return style(figure)


def cluster_counts(table: pd.DataFrame, suggested: int) -> go.Figure:
    """Silhouette and stability (adjusted Rand index across seeds) over k, with the suggested k marked.

    Parameters
    ----------
    table : `table` of `wb.suggest_k`: `k` (int), `silhouette` and `stability` (float).
    suggested : the k to mark.
    """
    figure = go.Figure()
    for column, color, symbol in (("silhouette", KEPT, "circle"), ("stability", ACCENT, "square")):
        figure.add_scatter(
            x=table["k"],
            y=table[column],
            name=column,
            mode="lines+markers",
            line={"color": color},
            marker={"symbol": symbol},
        )
    figure.add_vline(x=suggested, line_dash="dash", line_color=TEXT, annotation_text=f"k = {suggested}")
    figure.update_layout(
        title="How many clusters", xaxis_title="k", yaxis_title="silhouette; adjusted Rand index across seeds"
    )
    return style(figure)

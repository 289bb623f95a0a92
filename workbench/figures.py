"""Tables -> plotly figures; computes nothing but bins.

Colours are Okabe and Ito's, told apart by people with any colour vision; backgrounds are transparent and text
is mid-grey, so that a figure reads on light and dark pages alike.
"""

import html
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

KEPT, LEFT_OUT, ACCENT = "#0072B2", "#BBBBBB", "#D55E00"
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star")
_TEXT, _GRID = "#787878", "rgba(136,136,136,0.25)"
_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"
_FEWEST_BINS, _MOST_BINS = 20, 50
_MOST_NAMED = 20  # clusters that fit into a legend


def style(figure: go.Figure, height: int = 360) -> go.Figure:
    """The common look."""
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _TEXT, "size": 12, "family": _FONT},
        title={"font_size": 17, "x": 0, "xref": "paper", "xanchor": "left"},
        margin={"l": 60, "r": 20, "t": 70, "b": 50},
        height=height,
        autosize=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(gridcolor=_GRID, zerolinecolor=_GRID, showgrid=False, title_standoff=8)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_GRID, title_standoff=8)
    figure.update_traces(marker_line_width=0, selector={"type": "bar"})  # the default outline is white
    return figure


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


def _look(label: int) -> tuple[str, str]:
    """Colour and symbol of a cluster; both repeat after eight, shifted so that 64 clusters look different."""
    turn, at = divmod(label, len(PALETTE))
    return PALETTE[at], SYMBOLS[(at + turn) % len(SYMBOLS)]


def map_traces(table: pd.DataFrame, kept: np.ndarray) -> list[go.Scattergl]:
    """All rows by cluster, small and faint, and the kept ones on top.

    `table` has x, y, cluster and instruction.
    """
    label = table["cluster"].to_numpy()
    texts = table["instruction"].str.slice(0, 90).str.replace("<", "&lt;").str.replace("\n", " ")
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
        trace(np.flatnonzero(kept), "kept", size=10, opacity=1.0, line={"width": 1, "color": _TEXT}),
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


@dataclass(frozen=True)
class Html:
    """A piece of HTML that a notebook shows."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


_MOST_GAIN = 3.0  # nats from which on a token's colour is full


def token_gains(tokens: pd.DataFrame) -> Html:
    """The text of a response, each token coloured by what the instruction gains on it.

    `tokens` is that of `wb.explain`. Blue: the instruction makes the token likelier. Orange: less likely. The
    number is in the tooltip. The text is escaped: it is data, whatever it holds.
    """
    spans = [_token_span(*row) for row in tokens[["token", "gain"]].itertuples(index=False)]
    return Html(
        f'<div style="font:13px/1.9 ui-monospace,monospace;white-space:pre-wrap">{"".join(spans)}</div>'
        '<div style="font:12px system-ui,sans-serif;opacity:.75;margin-top:.6em">'
        "blue: likelier with the instruction, orange: less likely, plain: no difference</div>"
    )


def _token_span(token: str, gain: float) -> str:
    known = np.isfinite(gain)
    red, green, blue = (int(KEPT[i : i + 2], 16) for i in (1, 3, 5))
    if known and gain < 0:
        red, green, blue = (int(ACCENT[i : i + 2], 16) for i in (1, 3, 5))
    strength = 0.65 * min(1.0, abs(gain) / _MOST_GAIN) if known else 0.0
    told = f"{gain:+.2f} nats" if known else "not compared"
    shown = html.escape(token.replace("\n", "\u21b5\n"))
    return f'<span title="{told}" style="background:rgba({red},{green},{blue},{strength:.2f})">{shown}</span>'


def comparison(metrics: pd.DataFrame) -> go.Figure:
    """A panel for each number that differs: the strategies over the range that random draws give, shaded.

    `metrics` is that of `wb.compare`: a line for each number, columns for strategies and for the draws.
    """
    metrics = metrics[metrics.nunique(axis=1) > 1]
    names = [name for name in metrics.columns if not name.startswith("random ")]
    titles = [name.replace("_", " ") for name in metrics.index]
    columns = 3
    rows = max(1, -(-len(metrics) // columns))
    figure = make_subplots(rows, columns, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for i, (_, line) in enumerate(metrics.iterrows()):
        low, high = line["random 5 %"], line["random 95 %"]
        # Bars side by side: unlike a shape they are within the panel's range.
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
    """Rows that each two strategies share: the Jaccard index (0 to 1) or another share, as a square table."""
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
    """Silhouette and stability over k, the suggested k marked; `table` is that of `suggest_k`."""
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
    figure.add_vline(x=suggested, line_dash="dash", line_color=_TEXT, annotation_text=f"k = {suggested}")
    figure.update_layout(
        title="How many clusters", xaxis_title="k", yaxis_title="silhouette; adjusted Rand index across seeds"
    )
    return style(figure)


def loss_curves(histories: dict[str, list[dict]]) -> go.Figure:
    """Training loss of each run over its steps."""
    figure = go.Figure()
    for i, (name, history) in enumerate(histories.items()):
        figure.add_scatter(
            x=[record["step"] for record in history],
            y=[record["loss"] for record in history],
            name=name,
            mode="lines+markers",
            line={"color": PALETTE[(4 + i) % len(PALETTE)]},
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)]},
        )
    figure.update_layout(title="Training loss", xaxis_title="optimizer step", yaxis_title="nats per token")
    return style(figure)


def before_after(table: pd.DataFrame) -> go.Figure:
    """Held-out loss of the base model and of each tuned one; `table` has `name` and `loss`."""
    figure = go.Figure(
        go.Bar(
            x=table["name"],
            y=table["loss"],
            text=[f"{loss:.3f}" for loss in table["loss"]],
            textposition="outside",
            cliponaxis=False,
            marker_color=[LEFT_OUT] + [KEPT] * (len(table) - 1),
        )
    )
    figure.update_layout(title="Held-out loss, lower is better", yaxis_title="nats per token")
    return style(figure)

"""The figure of a sweep: loss against ratio for each arm."""

import pandas as pd
import plotly.graph_objects as go

from .look import LEFT_OUT, PALETTE, SYMBOLS, style

_ALL = "all rows"
_RANDOM = ("random", "random-tokens")
_UNITS = {
    "loss": "held-out loss, nats per token",
    "task_loss": "loss of the tasks' solutions, nats per token",
    "preference": "preference",
    "margin": "margin, nats",
}


def sweep(sweep, measure: str = "loss") -> go.Figure:
    """A measure against the ratio for each arm: means over seeds with their 95 % intervals.

    The curve of each arm ends at the cells on all rows, if there are any. An interval covers seeds alone, and
    there is none for a single seed. Call it again for a sweep that goes on: it draws the finished cells.

    Parameters
    ----------
    sweep : a `Sweep`, or its `summary`: `model`, `learning_rate`, `arm`, `ratio`, `seeds`, and the mean of
        the measure with `MEASURE_low` and `MEASURE_high`.
    measure : "loss", "task_loss", "preference" or "margin".
    """
    summary = sweep if isinstance(sweep, pd.DataFrame) else sweep.summary
    figure = go.Figure()
    if len(summary) and measure in summary:
        groups = summary.groupby(["model", "learning_rate"], sort=False)
        for (model, rate), part in groups:
            label = f", {model}, {rate:g}" if len(groups) > 1 else ""
            _add_arms(figure, part, measure, label)
    figure.update_layout(
        title=f"{_UNITS[measure].split(',')[0].capitalize()} by share of the rows",
        xaxis_title="share of the rows",
        yaxis_title=_UNITS[measure],
    )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    return style(figure)


def _add_arms(figure: go.Figure, summary: pd.DataFrame, measure: str, label: str) -> None:
    everything = summary[summary["arm"] == _ALL]
    arms = [arm for arm in summary["arm"].unique() if arm != _ALL] or [_ALL]
    for arm in sorted(arms, key=lambda name: name in _RANDOM):  # strategies first
        own = summary[summary["arm"] == arm]
        if arm != _ALL:
            own = pd.concat([own, everything])
        own = own.sort_values("ratio")
        number = len(figure.data)
        color = LEFT_OUT if arm in _RANDOM else PALETTE[(4 + number) % len(PALETTE)]
        figure.add_scatter(
            x=own["ratio"],
            y=own[measure],
            error_y={
                "type": "data",
                "array": own[f"{measure}_high"] - own[measure],
                "arrayminus": own[measure] - own[f"{measure}_low"],
                "color": color,
            },
            customdata=own["seeds"],
            name=arm + label,
            mode="lines+markers",
            line={"color": color, "dash": "dot" if arm == _RANDOM[1] else None},
            marker={"color": color, "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8},
            hovertemplate=f"{arm}, %{{x:.0%}}: %{{y:.4f}} (%{{customdata}} seeds)<extra></extra>",
        )

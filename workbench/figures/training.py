"""Figures of a training: loss curves of runs, the live curve of one, and held-out losses."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .look import ACCENT, KEPT, LEFT_OUT, PALETTE, SYMBOLS, style

_MAX_POINTS = 200  # of a live curve, which is redrawn twice a second
_MEASURED = {  # column -> label, dash and y axis
    "heldout_loss": ("held-out loss", "dash", "y"),
    "pass_at_1": ("pass@1", "dot", "y2"),
}
_SHARE_AXIS = {
    "title": "pass@1",
    "overlaying": "y",
    "side": "right",
    "range": [0, 1],
    "tickformat": ".0%",
    "showgrid": False,
}


def loss_curves(histories: dict[str, list[dict]]) -> go.Figure:
    """Training loss of each run over its optimizer steps, in nats per token.

    Held-out loss and pass@1 (a share, on the right axis) are added where they were measured.

    Parameters
    ----------
    histories : name -> `Run.history`, records with `step` and any of `loss`, `heldout_loss`, `pass_at_1`.
    """
    figure = go.Figure()
    for i, (name, history) in enumerate(histories.items()):
        color, symbol = PALETTE[(4 + i) % len(PALETTE)], SYMBOLS[i % len(SYMBOLS)]
        _add_curve(figure, history, "loss", name, color, symbol)
        for column, (label, dash, axis) in _MEASURED.items():
            _add_curve(
                figure, history, column, f"{name}, {label}", color, symbol, dash=dash, axis=axis, size=9
            )
    figure.update_layout(title="Training loss", xaxis_title="optimizer step", yaxis_title="nats per token")
    if any(trace.yaxis == "y2" for trace in figure.data):
        figure.update_layout(yaxis2=_SHARE_AXIS)
    return style(figure)


def live_curve(history: list[dict]) -> go.Figure:
    """Loss of one run, in nats per token, light enough to be redrawn while the run goes on.

    Held-out loss and pass@1 are added where they were measured. Beyond 200 points the line is the mean of
    consecutive steps, before a band from their lowest to their highest loss.

    Parameters
    ----------
    history : `Run.history`, with at least one record that has `loss`.
    """
    figure = go.Figure()
    steps, losses = _column(history, "loss")
    _add_loss(figure, steps, losses)
    for (column, (label, dash, axis)), color in zip(_MEASURED.items(), (ACCENT, PALETTE[2]), strict=True):
        _add_curve(figure, history, column, label, color, "diamond", dash=dash, axis=axis, size=9)
    heldout_steps, heldout = _column(history, "heldout_loss")
    title = "Loss" if len(heldout) else "Training loss"
    figure.update_layout(title=title, xaxis_title="optimizer step", yaxis_title="nats per token")
    figure.update_xaxes(range=[0, max(1.0, *steps, *heldout_steps)])
    figure.update_yaxes(range=_loss_range(np.concatenate([losses, heldout])))
    right = 20
    if any(trace.yaxis == "y2" for trace in figure.data):
        figure.update_layout(yaxis2=_SHARE_AXIS)
        right = 64
    return style(figure, height=260).update_layout(margin={"t": 56, "b": 44, "r": right})


def _add_loss(figure: go.Figure, steps: np.ndarray, losses: np.ndarray) -> None:
    """The line of training losses and, if it has fewer points than there are losses, their range."""
    mode = "lines+markers" if len(steps) <= 40 else "lines"
    if len(steps) > _MAX_POINTS:
        chunks = np.array_split(losses, _MAX_POINTS)
        lows, highs = ([float(bound(chunk)) for chunk in chunks] for bound in (np.min, np.max))
        steps, losses = (
            [float(chunk.mean()) for chunk in np.array_split(values, _MAX_POINTS)]
            for values in (steps, losses)
        )
        figure.add_scatter(
            x=[*steps, *steps[::-1]],
            y=[*highs, *lows[::-1]],
            mode="none",
            fill="toself",
            fillcolor=KEPT,
            opacity=0.2,
            showlegend=False,
        )
    figure.add_scatter(
        x=steps, y=losses, name="training loss", mode=mode, line_color=KEPT, marker={"color": KEPT, "size": 5}
    )


def _add_curve(
    figure: go.Figure,
    history: list[dict],
    column: str,
    name: str,
    color: str,
    symbol: str,
    *,
    dash: str | None = None,
    axis: str | None = None,
    size: int | None = None,
) -> None:
    """A curve of the records that have `column`; nothing is added if an optional column is missing."""
    steps, values = _column(history, column)
    if dash and not len(steps):
        return
    figure.add_scatter(
        name=name,
        mode="lines+markers",
        x=steps,
        y=values,
        line={"color": color, "dash": dash},
        marker={"color": color, "symbol": symbol, "size": size},
        yaxis=axis,
    )


def _column(history: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, float64 [n] each, of the records that have `name`."""
    pairs = [(record["step"], record[name]) for record in history if record.get(name) is not None]
    steps, values = np.array(pairs, float).reshape(-1, 2).T
    return steps, values


def _loss_range(losses: np.ndarray) -> list[float]:
    """Limits of the loss axis. The span is at least 1 % of the loss: the noise of a flat line stays small."""
    low, high = float(losses.min()), float(losses.max())
    missing = max(0.0, 0.01 * abs(high) - (high - low), 1e-6 - (high - low)) / 2
    room = 0.06 * (high - low) + missing
    return [low - room, high + room]


def before_after(table: pd.DataFrame) -> go.Figure:
    """Held-out loss of the base model and of each fine-tuned one, in nats per token.

    Parameters
    ----------
    table : columns `name` (str) and `loss` (float); the first row is the base model.
    """
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

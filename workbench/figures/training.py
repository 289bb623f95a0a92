"""What training did."""

import pandas as pd
import plotly.graph_objects as go

from .look import KEPT, LEFT_OUT, PALETTE, SYMBOLS, style

_SHARE = {
    "title": "pass@1",
    "overlaying": "y",
    "side": "right",
    "range": [0, 1],
    "tickformat": ".0%",
    "showgrid": False,
}


def loss_curves(histories: dict[str, list[dict]]) -> go.Figure:
    """Training loss of each run over its steps and, where measured, held-out loss and pass@1 (right axis)."""
    figure = go.Figure()
    for i, (name, history) in enumerate(histories.items()):
        look = {
            "line": {"color": PALETTE[(4 + i) % len(PALETTE)]},
            "marker": {"symbol": SYMBOLS[i % len(SYMBOLS)]},
        }
        figure.add_scatter(name=name, mode="lines+markers", **_points(history, "loss"), **look)
        for column, label, dash, axis in (
            ("heldout_loss", "held-out loss", "dash", "y"),
            ("pass_at_1", "pass@1", "dot", "y2"),
        ):
            points = _points(history, column)
            if points["x"]:
                figure.add_scatter(
                    name=f"{name}, {label}", mode="lines+markers", **points, **look, yaxis=axis
                )
                figure.data[-1].update(line_dash=dash, marker_size=9)
    figure.update_layout(title="Training loss", xaxis_title="optimizer step", yaxis_title="nats per token")
    if any(trace.yaxis == "y2" for trace in figure.data):
        figure.update_layout(yaxis2=_SHARE)
    return style(figure)


def _points(history: list[dict], column: str) -> dict[str, list]:
    """Steps and values of the records that have `column`."""
    found = [record for record in history if record.get(column) is not None]
    return {"x": [record["step"] for record in found], "y": [record[column] for record in found]}


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

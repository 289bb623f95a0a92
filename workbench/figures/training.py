"""What training did."""

import pandas as pd
import plotly.graph_objects as go

from .look import KEPT, LEFT_OUT, PALETTE, SYMBOLS, style


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

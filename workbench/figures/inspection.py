"""The figure of a cleaning report: rows by rule, and lengths."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..cleaning.report import Inspection
from .look import ACCENT, LEFT_OUT, style


def inspection(report: Inspection) -> go.Figure:
    """The share of rows that each rule flags, and a histogram of the lengths of all rows.

    Lengths are in tokens where they are known, else in characters of instruction and response together, on a
    logarithmic scale.

    Parameters
    ----------
    report : a report of `wb.inspect`.
    """
    figure = make_subplots(1, 2, column_widths=[0.55, 0.45], horizontal_spacing=0.12)
    shares = report.table["share"].fillna(0).astype(float)
    counts = ["not checked" if n is None else f"{n:,}" for n in report.table["rows"].astype(object).tolist()]
    labels = [f"{rule} \u00b7 {count}" for rule, count in zip(report.table["rule"], counts, strict=True)]
    figure.add_bar(
        x=(100 * shares).tolist(),
        y=labels,
        orientation="h",
        width=0.7,
        marker_color=ACCENT,
        name="flagged",
        hovertemplate="%{y} rows, %{x:.2f} %<extra></extra>",
        row=1,
        col=1,
    )
    rows, edges, unit = report.histogram
    figure.add_bar(
        x=((edges[:-1] + edges[1:]) / 2).tolist(),
        y=rows.tolist(),
        width=float(edges[1] - edges[0]),
        marker_color=LEFT_OUT,
        name="rows",
        hovertemplate=f"10^%{{x:.2f}} {unit}: %{{y:,}} rows<extra></extra>",
        row=1,
        col=2,
    )
    figure.update_layout(title="Cleaning report", showlegend=False, bargap=0)
    figure.update_xaxes(title="% of rows that a rule flags", row=1, col=1)
    figure.update_yaxes(type="category", autorange="reversed", automargin=True, row=1, col=1)
    figure.update_xaxes(title=f"{unit} per row, log10", row=1, col=2)
    style(figure, height=150 + 26 * max(len(labels), 6))
    return figure.update_layout(margin_l=150)

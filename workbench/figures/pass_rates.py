"""Figures of evaluations: pass@1 beside the paper's, verdicts, and a comparison of two reports."""

from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..evaluation import Comparison, board, named
from .look import ACCENT, KEPT, LEFT_OUT, TEXT, style

# Colour and pattern of each verdict.
VERDICTS = {
    "pass": (KEPT, ""),
    "fail": (LEFT_OUT, ""),
    "timeout": ("#E69F00", "/"),
    "error": (ACCENT, "x"),
    "blocked": ("#CC79A7", "."),
}
_HOVER = (
    "%{y}<br>%{customdata[0]} %{x:.1f} %, 95 % interval %{customdata[1]}<br>%{customdata[2]}<extra></extra>"
)


def evaluation(reports=None, *, paper: bool = True) -> go.Figure:
    """Pass@1 (%) of reports and of the paper's models, a panel per suite, with 95 % Wilson intervals.

    The line below the title says which tasks a suite has in the paper and in your reports: versions of MBPP
    differ in them. The values are those of `evaluation.board`.

    Parameters
    ----------
    reports : a report, name -> report, or None for the paper alone.
    paper : whether to include the paper's models.
    """
    table = board(reports, paper=paper)
    table["name"] = table["name"].map(escape)
    suites = list(dict.fromkeys(table["suite"]))
    names = list(dict.fromkeys(table["name"]))
    figure = make_subplots(1, max(1, len(suites)), shared_yaxes=True, horizontal_spacing=0.03)
    for column, suite in enumerate(suites, 1):
        for published in (True, False):
            rows = table[(table["suite"] == suite) & (table["published"] == published)]
            if len(rows):
                figure.add_trace(_dots(rows, published, legend=column == 1), row=1, col=column)
        figure.update_xaxes(title_text=f"{suite}, pass@1 %", row=1, col=column)
    style(figure, height=210 + 24 * len(names))
    figure.update_layout(title=f"pass@1 with 95 % intervals<br><sub>{_versions(table)}</sub>", margin_t=130)
    figure.update_xaxes(showgrid=True, range=[0, 100])
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=names,
        range=[len(names) - 0.5, -0.5],  # the first name at the top
        automargin=True,
        showgrid=True,
    )
    return figure


def _dots(rows, published: bool, legend: bool) -> go.Scatter:
    percent, low, high = (100 * rows[name] for name in ("pass@1", "low", "high"))
    intervals = [f"{a:.1f} to {b:.1f}" for a, b in zip(low, high, strict=True)]
    color, symbol, size = (TEXT, "circle", 8) if published else (ACCENT, "diamond", 11)
    return go.Scatter(
        x=percent,
        y=rows["name"],
        mode="markers",
        name="the paper" if published else "yours",
        legendgroup="the paper" if published else "yours",
        showlegend=legend,
        marker={"color": color, "symbol": symbol, "size": size},
        error_x={
            "array": high - percent,
            "arrayminus": percent - low,
            "symmetric": False,
            "color": color,
            "thickness": 1.2,
        },
        customdata=list(zip(rows["suite"], intervals, rows["version"], strict=True)),
        hovertemplate=_HOVER,
    )


def _versions(table) -> str:
    """The tasks of each suite, e.g. "MBPP: the paper v0.1, 399 tasks; yours v0.2.0, 378 tasks"."""
    versions = []
    for suite, rows in table.groupby(table["suite"].str.removesuffix("+"), sort=False):
        parts = [
            f"{who} {' / '.join(dict.fromkeys(rows.loc[rows['published'] == published, 'version']))}"
            for who, published in (("the paper", True), ("yours", False))
            if (rows["published"] == published).any()
        ]
        versions.append(f"{suite}: {'; '.join(parts)}")
    return " · ".join(versions)


def verdicts(reports) -> go.Figure:
    """Number of samples with each verdict, a bar for each suite of each report.

    Parameters
    ----------
    reports : a report, or name -> report.
    """
    figure, counts = go.Figure(), {}
    for name, report in named(reports).items():
        for suite in report.scores.index:
            counts[escape(f"{name} · {suite}")] = report.tasks[suite].value_counts()
    for verdict, (color, pattern) in VERDICTS.items():
        if n := [int(count.get(verdict, 0)) for count in counts.values()]:
            figure.add_bar(
                x=n,
                y=list(counts),
                orientation="h",
                name=verdict,
                marker={"color": color, "pattern": {"shape": pattern, "solidity": 0.4}},
                text=[number or "" for number in n],
                textangle=0,
                insidetextanchor="middle",
                hovertemplate=f"%{{y}}: %{{x}} {verdict}<extra></extra>",
            )
    figure.update_layout(title="Verdicts", barmode="stack", xaxis_title="samples", legend_traceorder="normal")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return style(figure, height=180 + 34 * len(counts))


def flips(comparison: Comparison) -> go.Figure:
    """Two reports on the same tasks: passed by both, by one alone or by neither.

    The title gives p of the exact McNemar test on the tasks that differ.

    Parameters
    ----------
    comparison : from `EvalReport.compare`.
    """
    first, second = map(escape, comparison.names)
    neither = comparison.n_tasks - comparison.both - comparison.only_first - comparison.only_second
    parts = (
        ("both pass", comparison.both, KEPT, ""),
        (f"only {first}", comparison.only_first, "#E69F00", "/"),
        (f"only {second}", comparison.only_second, ACCENT, "x"),
        ("neither", neither, LEFT_OUT, ""),
    )
    figure = go.Figure()
    for name, n, color, pattern in parts:
        figure.add_bar(
            x=[n],
            y=[comparison.suite],
            orientation="h",
            name=name,
            marker={"color": color, "pattern": {"shape": pattern, "solidity": 0.4}},
            text=[n or ""],
            textangle=0,
            insidetextanchor="middle",
            hovertemplate=f"%{{x}} tasks<extra>{name}</extra>",
        )
    figure.update_layout(
        title=f"{comparison.n_tasks} tasks, {first} and {second}<br><sub>exact McNemar test on the "
        f"{comparison.only_first + comparison.only_second} that differ: p = {comparison.p_value:.3g}</sub>",
        barmode="stack",
        xaxis_title="tasks",
        legend_traceorder="normal",
    )
    style(figure, height=250)
    return figure.update_layout(margin_t=120)

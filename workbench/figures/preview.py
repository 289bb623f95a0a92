"""The first batch of packing plans: samples and padding in each row."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..packing import PackPlan
from .look import KEPT, LEFT_OUT, style

_MAX_ROWS = 16  # drawn of a batch
_SHADES = (KEPT, "#56B4E9")  # alternate within a row


def packing_preview(plans: Sequence[PackPlan]) -> go.Figure:
    """The first batch of each plan: a bar per row, its samples end to end, padding hatched.

    All plans share one scale in tokens, except plans with rows longer than `max_length`, which have their
    own. Only the first 16 rows of a batch are drawn.

    Parameters
    ----------
    plans : from `wb.pack`.
    """
    titles = [f"<b>{plan.strategy}</b> · {plan.padding_rate:.1%} padding" for plan in plans]
    columns = max(1, len(plans))
    figure = make_subplots(1, columns, subplot_titles=titles, horizontal_spacing=0.1 / columns)
    longest = 1
    for column, plan in enumerate(plans, start=1):
        rows = first_batch(plan)
        width = plan.max_length if plan.to_max else max((sum(row) for row in rows), default=0)
        own_scale = width > plan.max_length
        longest = longest if own_scale else max(longest, width)
        shown = rows[:_MAX_ROWS]
        figure.add_traces([_samples(shown), _padding(shown, width)], rows=1, cols=column)
        title = "tokens, another scale" if own_scale else "tokens"
        if len(shown) < len(rows):
            title += f" · first {len(shown)} of {len(rows)} rows"
        limits = [0, 1.02 * width] if own_scale else None
        figure.update_xaxes(title=title, range=limits, row=1, col=column)
    style(figure, height=250)
    figure.update_traces(showlegend=False)
    figure.update_layout(barmode="overlay", bargap=0.25, margin={"t": 34, "b": 48, "l": 20}, showlegend=False)
    figure.update_annotations(font_size=13)
    figure.update_xaxes(range=[0, 1.02 * longest], selector=lambda axis: axis.range is None)
    figure.update_xaxes(nticks=4)
    figure.update_yaxes(showticklabels=False, autorange="reversed", showgrid=False, zeroline=False)
    return figure


def first_batch(plan: PackPlan) -> list[list[int]]:
    """Tokens of each sample in each row of the plan's first batch; empty for a plan without rows."""
    if not plan.n_rows:
        return []
    layout, size = plan.layout, plan.pieces.size
    bounds = layout.bounds[: layout.batches[1] + 1]
    return [size[layout.items[start:stop]].tolist() for start, stop in pairwise(bounds)]


def _samples(rows: list[list[int]]) -> go.Bar:
    at = [row for row, samples in enumerate(rows) for _ in samples]
    starts = [start for samples in rows for start in np.cumsum([0, *samples[:-1]]).tolist()]
    return go.Bar(
        x=[tokens for samples in rows for tokens in samples],
        y=at,
        base=starts,
        orientation="h",
        name="samples",
        marker_color=[_SHADES[i % 2] for samples in rows for i in range(len(samples))],
        hovertemplate="row %{y}: a sample of %{x:,} tokens<extra></extra>",
    )


def _padding(rows: list[list[int]], width: int) -> go.Bar:
    used = [sum(samples) for samples in rows]
    return go.Bar(
        x=[width - tokens for tokens in used],
        y=list(range(len(rows))),
        base=used,
        orientation="h",
        name="padding",
        marker={"color": "rgba(0,0,0,0)", "pattern": {"shape": "/", "fgcolor": LEFT_OUT, "size": 6}},
        hovertemplate="row %{y}: %{x:,} tokens of padding<extra></extra>",
    )

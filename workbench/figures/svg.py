"""A plotly figure as an SVG of a few kilobytes, for pages without widgets, WebGL or plotly.

Draws what the figures of this package consist of: bars (stacked, side by side, with a base, hatched),
points, lines, bands, straight shapes, annotations, titles, linear and category axes (a second y axis on the
right), and a legend. Other features of plotly are ignored.
"""

from html import escape
from itertools import count

import plotly.graph_objects as go

from . import marks
from .axes import Axis, axes_of, long_name
from .look import KEPT, TEXT
from .svg_traces import HATCHED, draw_trace

_HATCH = (
    '<defs><pattern id="hatch{}" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="1.6" height="6" fill="#BBBBBB"/></pattern></defs>'
)
_numbers = count()


def to_svg(figure: go.Figure, width: int = 900, label: str | None = None) -> str:
    """`figure` as an SVG element that fills its container, at most `width` pixels wide.

    `label` is read by screen readers; the default is the title of the figure.
    """
    layout = figure.layout
    height = layout.height or 360
    title = marks.plain(layout.title.text or "")
    parts = [marks.text(4, 22, layout.title.text or "", 16, "start")]
    for x_name, y_name in sorted({(trace.xaxis or "x", trace.yaxis or "y") for trace in figure.data}):
        parts += _panel(figure, x_name, y_name, width, height)
    parts += _annotations(figure, width, height)
    parts += _legend(figure, width, height)
    svg = "".join(parts)
    if HATCHED in svg:
        # Each SVG needs its own id: a page uses the first pattern of an id, even one in a hidden SVG.
        number = next(_numbers)
        svg = _HATCH.format(number) + svg.replace(HATCHED, f"url(#hatch{number})")
    return (
        f'<svg role="img" aria-label="{escape(label or title, quote=True)}" viewBox="0 0 {width} {height}" '
        f'style="max-width:{width}px;width:100%;height:auto;font-family:system-ui,sans-serif" fill="{TEXT}">'
        f"{svg}</svg>"
    )


def _panel(figure: go.Figure, x_name: str, y_name: str, width: int, height: int) -> list[str]:
    """Axes, traces and shapes of one pair of axes."""
    traces = [t for t in figure.data if (t.xaxis or "x", t.yaxis or "y") == (x_name, y_name)]
    x, y = axes_of(figure, x_name, y_name, width, height)
    x_layout, y_layout = figure.layout[long_name(x_name)], figure.layout[long_name(y_name)]
    overlays = bool(y_layout.overlaying)  # the panel below has drawn the x axis
    parts = ([] if overlays else _x_axis(x_layout, x, y)) + _y_axis(y_layout, x, y)
    stack: dict = {}
    bars = [trace for trace in traces if trace.type == "bar"]
    for trace in traces:
        if trace.visible is not False:
            parts += draw_trace(trace, x, y, bars, figure.layout.barmode, stack)
    for shape in figure.layout.shapes:
        on_panel = (shape.xref or "x").split()[0] == x_name and not overlays
        if shape.visible is not False and on_panel:
            parts.append(_shape(shape, x, y))
    return parts


def _x_axis(layout, x: Axis, y: Axis) -> list[str]:
    """Tick labels and title below the panel."""
    bottom = max(y.start, y.end)
    parts = []
    if layout.showticklabels is not False:
        parts += [marks.text(x(value), bottom + 15, name, 11, "middle") for value, name in x.labels]
    if layout.title.text:
        parts.append(marks.text((x.start + x.end) / 2, bottom + 34, layout.title.text, 12, "middle"))
    return parts


def _y_axis(layout, x: Axis, y: Axis) -> list[str]:
    """Tick labels, grid lines and title, left or right of the panel."""
    left, right = sorted((x.start, x.end))
    on_right = layout.side == "right"
    edge, anchor = (right + 6, "start") if on_right else (left - 6, "end")
    title_at = right + 52 if on_right else left - 44
    parts = []
    texts = dict(zip(layout.tickvals or (), layout.ticktext or (), strict=True))
    if layout.showticklabels is not False:
        for value, name in y.labels:
            name = f"{value:.0%}" if layout.tickformat == ".0%" else texts.get(value, name)
            parts.append(marks.text(edge, y(value) + 4, name, 11, anchor))
            if layout.showgrid is not False and not y.categories:
                parts.append(marks.line(left, y(value), right, y(value), "rgba(136,136,136,.25)"))
    if layout.title.text:
        parts.append(
            f'<g transform="translate({title_at:.0f},{(y.start + y.end) / 2:.0f}) rotate(-90)">'
            f"{marks.text(0, 0, layout.title.text, 12, 'middle')}</g>"
        )
    return parts


def _shape(shape, x: Axis, y: Axis) -> str:
    """A line or a rectangle; its y values are fractions of the panel if `yref` is a domain."""
    x0, x1 = x(shape.x0), x(shape.x1)
    whole = "domain" in (shape.yref or "")
    y0, y1 = (y.start, y.end) if whole else (y(shape.y0), y(shape.y1))
    line = shape.line.color or TEXT
    if shape.type == "line" or x0 == x1:
        return marks.line(x0, y0, x1, y1, line, 2, shape.line.dash == "dash")
    return marks.rectangle(
        (*sorted((x0, x1)), *sorted((y0, y1))), shape.fillcolor or line, "", shape.opacity or 1
    )


def _annotations(figure: go.Figure, width: int, height: int) -> list[str]:
    parts = []
    for note in figure.layout.annotations:
        if note.visible is False or not note.text:
            continue
        left, top = _position(note, figure, width, height)
        anchor = {"left": "start", "right": "end"}.get(note.xanchor, "middle")
        turn = ""
        if note.textangle:  # a rotated text ends at its position
            anchor, turn = "end", f" rotate({note.textangle})"
            left, top = left + 14, top + 4
        text = marks.text(0, 0, note.text, note.font.size or 12, anchor, note.font.color)
        position = f"{left:.1f},{top - 4 - (note.yshift or 0):.1f}"
        parts.append(f'<g transform="translate({position}){turn}">{text}</g>')
    return parts


def _position(note, figure: go.Figure, width: int, height: int) -> tuple[float, float]:
    """Pixels of an annotation, which is placed on the figure, on a panel or by data values."""
    margin = figure.layout.margin
    left, right, top, bottom = margin.l or 60, margin.r or 20, margin.t or 70, margin.b or 50
    x_name, y_name = ((note[side + "ref"] or "paper").split()[0] for side in "xy")
    if x_name == "paper":
        return left + note.x * (width - left - right), height - bottom - note.y * (height - top - bottom)
    on_panel = "domain" in (note.yref or "") or y_name == "paper"
    y_name = x_name.replace("x", "y") if y_name == "paper" else y_name
    x, y = axes_of(figure, x_name, y_name, width, height)
    return x(note.x), y.start + note.y * (y.end - y.start) if on_panel else y(note.y)


def _legend(figure: go.Figure, width: int, height: int) -> list[str]:
    """The traces with a legend entry from left to right, below the title or below the figure."""
    if figure.layout.showlegend is False:
        return []
    named = [t for t in figure.data if t.showlegend is not False and t.name]
    if len(named) < 2:
        return []
    below = (figure.layout.legend.y or 0) < 0
    margin, widths = figure.layout.margin, [30 + 7 * len(trace.name) for trace in named]
    x, y = 40.0, height - (margin.b or 50) + 26
    if not below:
        x, y = max(x, width - (margin.r or 20) - sum(widths)), (margin.t or 70) - 34
    parts = []
    for trace, wide in zip(named, widths, strict=True):
        if x + wide > width:
            x, y = 40.0, y + 18
        color = trace.marker.color if isinstance(trace.marker.color, str) else KEPT
        symbol = "square" if trace.type == "bar" else trace.marker.symbol
        parts += [marks.mark(x, y - 4, 5, color, symbol), marks.text(x + 10, y, trace.name, 12, "start")]
        x += wide
    return parts

"""A figure as SVG of a few kilobytes: for pages without widgets, without WebGL, or without plotly at all.

Draws what this package's figures are made of: bars (stacked, side by side, based, hatched), points, lines,
straight shapes, annotations, titles, linear and category axes, and a legend. Not the rest of plotly.
"""

from html import escape
from itertools import count

import numpy as np
import plotly.graph_objects as go

from . import marks
from .axes import Axis, axes_of, long_name
from .look import KEPT, TEXT

_HATCHED = "url(#hatch)"
_HATCH = (
    '<defs><pattern id="hatch{}" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="1.6" height="6" fill="#BBBBBB"/></pattern></defs>'
)
_numbers = count()


def to_svg(figure: go.Figure, width: int = 900, label: str | None = None) -> str:
    """`figure` as an SVG element as wide as its place allows, at most `width` pixels.

    `label` is what a screen reader says; the figure's title unless given.
    """
    layout = figure.layout
    height = layout.height or 360
    title = marks.plain(layout.title.text or "")
    parts = [marks.text(4, 22, layout.title.text or "", 16, "start")]
    for name in sorted({(trace.xaxis or "x", trace.yaxis or "y") for trace in figure.data}):
        parts += _panel(figure, *name, width, height)
    parts += _annotations(figure, width, height)
    parts += _legend(figure, width, height)
    drawn = "".join(parts)
    if _HATCHED in drawn:
        # A name of its own: a page takes the first pattern of a name, also one in a picture that is hidden.
        number = next(_numbers)
        drawn = _HATCH.format(number) + drawn.replace(_HATCHED, f"url(#hatch{number})")
    return (
        f'<svg role="img" aria-label="{escape(label or title, quote=True)}" viewBox="0 0 {width} {height}" '
        f'style="max-width:{width}px;width:100%;height:auto;font-family:system-ui,sans-serif" fill="{TEXT}">'
        f"{drawn}</svg>"
    )


def _panel(figure: go.Figure, x_name: str, y_name: str, width: int, height: int) -> list[str]:
    """Axes, traces and shapes of one pair of axes."""
    traces = [t for t in figure.data if (t.xaxis or "x", t.yaxis or "y") == (x_name, y_name)]
    x, y = axes_of(figure, x_name, y_name, width, height)
    parts = _frame(figure.layout[long_name(x_name)], figure.layout[long_name(y_name)], x, y)
    stack: dict = {}
    for trace in traces:
        if trace.visible is False:
            continue
        if trace.type == "bar":
            bars = [t for t in traces if t.type == "bar"]
            parts += _bars(figure, trace, x, y, stack, bars.index(trace), len(bars))
        elif trace.type in ("scatter", "scattergl"):
            parts += _points(trace, x, y)
        elif trace.type == "heatmap" and trace.z is not None:
            parts += _cells(trace, x, y)
    for shape in figure.layout.shapes:
        if shape.visible is not False and (shape.xref or "x").split()[0] == x_name:
            parts.append(_shape(shape, x, y))
    return parts


def _frame(x_layout, y_layout, x: Axis, y: Axis) -> list[str]:
    """Ticks, grid lines and titles of a panel's axes."""
    left, right = sorted((x.start, x.end))
    top, bottom = sorted((y.start, y.end))
    parts = []
    if x_layout.showticklabels is not False:
        parts += [marks.text(x(at), bottom + 15, name, 11, "middle") for at, name in _ticks(x)]
    if y_layout.showticklabels is not False:
        for at, name in _ticks(y):
            parts.append(marks.text(left - 6, y(at) + 4, name, 11, "end"))
            if y_layout.showgrid is not False and not y.categories:
                parts.append(marks.line(left, y(at), right, y(at), "rgba(136,136,136,.25)"))
    if x_layout.title.text:
        parts.append(marks.text((left + right) / 2, bottom + 34, x_layout.title.text, 12, "middle"))
    if y_layout.title.text:
        parts.append(
            f'<g transform="translate({left - 44:.0f},{(top + bottom) / 2:.0f}) rotate(-90)">'
            f"{marks.text(0, 0, y_layout.title.text, 12, 'middle')}</g>"
        )
    return parts


def _ticks(axis: Axis) -> list[tuple[float | str, str]]:
    return [(name, name) for _, name in axis.ticks] if axis.categories else axis.ticks


def _bars(figure, trace: go.Bar, x: Axis, y: Axis, stack: dict, nth: int, n: int) -> list[str]:
    """Rectangles, each with what it says in its tooltip."""
    flat = trace.orientation == "h"
    along, across = (x, y) if flat else (y, x)
    lengths, places = (trace.x, trace.y) if flat else (trace.y, trace.x)
    if lengths is None or places is None:
        return []
    grouped = figure.layout.barmode not in ("stack", "overlay") and trace.base is None
    thick = trace.width if _is_number(trace.width) else 0.8 / (n if grouped else 1)
    offset = -0.4 + nth * thick if grouped else -thick / 2
    offset = trace.offset if _is_number(trace.offset) else offset
    bases = _each(trace.base, len(lengths))
    parts = []
    for place, length, base, fill in zip(places, lengths, bases, _fills(trace), strict=True):
        if base is None:
            base = stack.get(place, 0)
            stack[place] = base + length if figure.layout.barmode == "stack" else 0
        ends = sorted((along(base), along(base + length)))
        sides = sorted((across(place, offset), across(place, offset + thick)))
        if length:
            box = (*ends, *sides) if flat else (*sides, *ends)
            parts.append(marks.rectangle(box, fill, f"{place}: {length:,.4g} {trace.name or ''}"))
    if trace.text is not None and not flat:
        shown = zip(places, lengths, trace.text, strict=True)
        parts += [
            marks.text(x(place), y(length) - 4, str(text), 11, "middle") for place, length, text in shown
        ]
    return parts


def _is_number(value) -> bool:
    return isinstance(value, int | float)


def _fills(trace: go.Bar) -> list[str]:
    if trace.marker.pattern.shape:
        return [_HATCHED] * len(trace.x)
    return [color or KEPT for color in _each(trace.marker.color, len(trace.x))]


def _points(trace, x: Axis, y: Axis) -> list[str]:
    """Markers and lines of a scatter trace."""
    pairs = [(x(a), y(b)) for a, b in zip(trace.x, trace.y, strict=True) if a is not None and b is not None]
    parts = []
    if "lines" in (trace.mode or "") and pairs:
        at = " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)
        parts.append(
            f'<polyline points="{at}" fill="none" stroke="{trace.line.color or KEPT}" stroke-width="2"/>'
        )
    if "markers" in (trace.mode or "markers"):
        colors, symbols = _each(trace.marker.color, len(pairs)), _each(trace.marker.symbol, len(pairs))
        size = trace.marker.size if isinstance(trace.marker.size, int | float) else 6
        opacity = 1 if trace.marker.opacity is None else trace.marker.opacity
        drawn = [
            marks.mark(a, b, size / 2, c, s) for (a, b), c, s in zip(pairs, colors, symbols, strict=True)
        ]
        parts.append(f'<g opacity="{opacity}">{"".join(drawn)}</g>')
    return parts


def _cells(trace: go.Heatmap, x: Axis, y: Axis) -> list[str]:
    """A density: the more, the darker."""
    z = np.array(trace.z, float)  # null becomes NaN
    most = np.nanmax(z) or 1
    half_x, half_y = ((side[1] - side[0]) / 2 for side in (trace.x, trace.y))
    parts = []
    for i, j in np.argwhere(np.isfinite(z)).tolist():
        sides = sorted((x(trace.x[j] - half_x), x(trace.x[j] + half_x)))
        ends = sorted((y(trace.y[i] - half_y), y(trace.y[i] + half_y)))
        parts.append(marks.rectangle((*sides, *ends), "#888888", "", round(0.1 + 0.55 * z[i, j] / most, 2)))
    return parts


def _each(value, n: int) -> list:
    return list(value) if isinstance(value, tuple | list | np.ndarray) else [value] * n


def _shape(shape, x: Axis, y: Axis) -> str:
    """A line, or a rectangle; its y counts in parts of the panel where it says so."""
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
    parts, layout = [], figure.layout
    margin = layout.margin
    left, right, top, bottom = margin.l or 60, margin.r or 20, margin.t or 70, margin.b or 50
    for note in layout.annotations:
        if note.visible is False or not note.text:
            continue
        x_name, y_name = ((note[side + "ref"] or "paper").split()[0] for side in "xy")
        if x_name == "paper":
            x_at, y_at = (
                left + note.x * (width - left - right),
                height - bottom - note.y * (height - top - bottom),
            )
        else:
            x, y = axes_of(
                figure, x_name, y_name if y_name != "paper" else x_name.replace("x", "y"), width, height
            )
            domain = "domain" in (note.yref or "") or y_name == "paper"
            x_at, y_at = x(note.x), (y.start + note.y * (y.end - y.start)) if domain else y(note.y)
        anchor = {"left": "start", "right": "end"}.get(note.xanchor, "middle")
        text = marks.text(0, 0, note.text, note.font.size or 12, anchor, note.font.color)
        if note.textangle:  # its end at the place
            text = text.replace(f'"{anchor}"', '"end"')
            x_at, y_at = x_at + 14, y_at + 4
        turn = f" rotate({note.textangle})" if note.textangle else ""
        place = f"{x_at:.1f},{y_at - 4 - (note.yshift or 0):.1f}"
        parts.append(f'<g transform="translate({place}){turn}">{text}</g>')
    return parts


def _legend(figure: go.Figure, width: int, height: int) -> list[str]:
    """The traces that want a line in it, from left to right, below the title or below all."""
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

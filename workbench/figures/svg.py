"""A figure as SVG of a few kilobytes: for pages without widgets, without WebGL, or without plotly at all.

Draws what this package's figures are made of: bars (stacked, side by side, based, hatched), points, lines,
straight shapes, annotations, titles, linear and category axes, and a legend. Not the rest of plotly.
"""

import re
from dataclasses import dataclass
from html import escape, unescape

import numpy as np
import plotly.graph_objects as go

from .look import KEPT, TEXT

_MARKS = {  # of a symbol with radius 1
    "square": "M-.8-.8H.8V.8H-.8Z",
    "diamond": "M0-1.2L1 0L0 1.2L-1 0Z",
    "cross": "M-.35-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",
    "x": "M-.9-.5L-.5-.9L0-.4L.5-.9L.9-.5L.4 0L.9.5L.5.9L0 .4L-.5.9L-.9.5L-.4 0Z",
    "triangle-up": "M0-1L1 .8H-1Z",
    "triangle-down": "M0 1L1-.8H-1Z",
    "star": "M0-1.2L.35-.4L1.15-.35L.5.15L.7 1L0 .5L-.7 1L-.5.15L-1.15-.35L-.35-.4Z",
}
_HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="1.6" height="6" fill="#BBBBBB"/></pattern></defs>'
)


@dataclass(frozen=True)
class Axis:
    """From values to pixels: linear from `low` at pixel `start` to `high` at `end`; `categories` by place."""

    low: float
    high: float
    start: float
    end: float
    categories: tuple[str, ...] = ()

    def __call__(self, value, offset: float = 0.0) -> float:
        """The pixel of a value or a category, `offset` further on."""
        place = (self.categories.index(str(value)) if self.categories else value) + offset
        return self.start + (place - self.low) / (self.high - self.low or 1) * (self.end - self.start)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        if self.categories:
            return [(i, name) for i, name in enumerate(self.categories)]
        low, high = sorted((self.low, self.high))
        rough = max(high - low, 1e-12) / 5
        power = 10 ** np.floor(np.log10(rough))
        step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough)
        values = np.arange(np.ceil(low / step) * step, high + step / 1e6, step)
        digits = max(0, -int(np.floor(np.log10(step))))
        return [(value, f"{value:,.{digits}f}") for value in values.tolist()]


def to_svg(figure: go.Figure, width: int = 900, label: str | None = None) -> str:
    """`figure` as an SVG element as wide as its place allows, at most `width` pixels.

    `label` is what a screen reader says; the figure's title unless given.
    """
    layout = figure.layout
    height = layout.height or 360
    title = _plain(layout.title.text or "")
    parts = [_HATCH, _text(4, 22, layout.title.text or "", 16, "start")]
    for name in sorted({(trace.xaxis or "x", trace.yaxis or "y") for trace in figure.data}):
        parts += _panel(figure, *name, width, height)
    parts += _annotations(figure, width, height)
    parts += _legend(figure, width, height)
    return (
        f'<svg role="img" aria-label="{escape(label or title, quote=True)}" viewBox="0 0 {width} {height}" '
        f'style="max-width:{width}px;width:100%;height:auto;font-family:system-ui,sans-serif" fill="{TEXT}">'
        f"{''.join(parts)}</svg>"
    )


def _panel(figure: go.Figure, x_name: str, y_name: str, width: int, height: int) -> list[str]:
    """Axes, traces and shapes of one pair of axes."""
    traces = [t for t in figure.data if (t.xaxis or "x", t.yaxis or "y") == (x_name, y_name)]
    x, y = axes_of(figure, x_name, y_name, width, height)
    parts = _frame(figure.layout[_long(x_name)], figure.layout[_long(y_name)], x, y)
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


def axes_of(figure: go.Figure, x_name: str, y_name: str, width: int, height: int) -> tuple[Axis, Axis]:
    """The axes called so, with the ranges that the layout gives or that hold all traces."""
    layout, margin = figure.layout, figure.layout.margin
    left, right = margin.l or 60, width - (margin.r or 20)
    top, bottom = margin.t or 70, height - (margin.b or 50)
    found = []
    for name, start, end in ((x_name, left, right), (y_name, bottom, top)):
        given = layout[_long(name)]
        low, high = given.domain or (0, 1)
        pixels = (start + low * (end - start), start + high * (end - start))
        categories, extent = _extent(figure, name)
        if given.range and not categories:
            extent = tuple(given.range)
        if given.autorange == "reversed":
            pixels = pixels[::-1]
        found.append(Axis(*extent, *pixels, categories))
    return tuple(found)


def _extent(figure: go.Figure, name: str) -> tuple[tuple[str, ...], tuple[float, float]]:
    """Categories of an axis, or the range that holds everything on it."""
    side, values, ends = name[0], [], []
    sums: dict = {}
    for trace in figure.data:
        if (getattr(trace, side + "axis") or side) != name or trace[side] is None:
            continue
        given = [value for value in trace[side] if value is not None]
        values += given
        along = trace.type == "bar" and (trace.orientation == "h") == (side == "x")
        if along:  # bars begin at 0, or at the base, and may be stacked
            base = np.broadcast_to(trace.base if trace.base is not None else 0, len(given))
            ends += [0.0, *(base + np.asarray(given, float)).tolist()]
            if figure.layout.barmode == "stack" and trace.base is None:
                for at, value in zip(trace["y" if side == "x" else "x"], given, strict=False):
                    sums[at] = sums.get(at, 0) + value
        elif trace.type == "bar" and given and not isinstance(given[0], str):
            half = (trace.width if isinstance(trace.width, int | float) else 1) / 2
            ends += [min(given) - half, max(given) + half]
    if values and isinstance(values[0], str):
        categories = tuple(dict.fromkeys(values))
        return categories, (-0.5, len(categories) - 0.5)
    ends += [float(v) for v in values] if not ends else [*sums.values()]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = 0.04 * (high - low or 1)
    return (), (low if low == 0 else low - room, high + room)


def _frame(x_layout, y_layout, x: Axis, y: Axis) -> list[str]:
    """Ticks, grid lines and titles of a panel's axes."""
    left, right = sorted((x.start, x.end))
    top, bottom = sorted((y.start, y.end))
    parts = []
    if x_layout.showticklabels is not False:
        parts += [_text(x(at), bottom + 15, name, 11, "middle") for at, name in _ticks(x)]
    if y_layout.showticklabels is not False:
        for at, name in _ticks(y):
            parts.append(_text(left - 6, y(at) + 4, name, 11, "end"))
            if y_layout.showgrid is not False and not y.categories:
                parts.append(_line(left, y(at), right, y(at), "rgba(136,136,136,.25)"))
    if x_layout.title.text:
        parts.append(_text((left + right) / 2, bottom + 34, x_layout.title.text, 12, "middle"))
    if y_layout.title.text:
        parts.append(
            f'<g transform="translate({left - 44:.0f},{(top + bottom) / 2:.0f}) rotate(-90)">'
            f"{_text(0, 0, y_layout.title.text, 12, 'middle')}</g>"
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
            parts.append(_rectangle(box, fill, f"{place}: {length:,.4g} {trace.name or ''}"))
    if trace.text is not None and not flat:
        shown = zip(places, lengths, trace.text, strict=True)
        parts += [_text(x(place), y(length) - 4, str(text), 11, "middle") for place, length, text in shown]
    return parts


def _is_number(value) -> bool:
    return isinstance(value, int | float)


def _fills(trace: go.Bar) -> list[str]:
    if trace.marker.pattern.shape:
        return ["url(#hatch)"] * len(trace.x)
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
        marks = [_mark(a, b, size / 2, c, s) for (a, b), c, s in zip(pairs, colors, symbols, strict=True)]
        parts.append(f'<g opacity="{opacity}">{"".join(marks)}</g>')
    return parts


def _cells(trace: go.Heatmap, x: Axis, y: Axis) -> list[str]:
    """A density: the more, the darker."""
    most = np.nanmax(trace.z) or 1
    half_x, half_y = ((side[1] - side[0]) / 2 for side in (trace.x, trace.y))
    parts = []
    for i, j in np.argwhere(np.isfinite(trace.z)).tolist():
        sides = sorted((x(trace.x[j] - half_x), x(trace.x[j] + half_x)))
        ends = sorted((y(trace.y[i] - half_y), y(trace.y[i] + half_y)))
        parts.append(_rectangle((*sides, *ends), "#888888", "", round(0.1 + 0.55 * trace.z[i][j] / most, 2)))
    return parts


def _each(value, n: int) -> list:
    return list(value) if isinstance(value, tuple | list | np.ndarray) else [value] * n


def _mark(x: float, y: float, radius: float, color: str | None, symbol: str | None) -> str:
    color = color or KEPT
    if symbol not in _MARKS:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{color}"/>'
    placed = f"translate({x:.1f},{y:.1f}) scale({radius:.1f})"
    return f'<path d="{_MARKS[symbol]}" transform="{placed}" fill="{color}"/>'


def _shape(shape, x: Axis, y: Axis) -> str:
    """A line, or a rectangle; its y counts in parts of the panel where it says so."""
    x0, x1 = x(shape.x0), x(shape.x1)
    whole = "domain" in (shape.yref or "")
    y0, y1 = (y.start, y.end) if whole else (y(shape.y0), y(shape.y1))
    line = shape.line.color or TEXT
    if shape.type == "line" or x0 == x1:
        return _line(x0, y0, x1, y1, line, 2, shape.line.dash == "dash")
    return _rectangle((*sorted((x0, x1)), *sorted((y0, y1))), shape.fillcolor or line, "", shape.opacity or 1)


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
        text = _text(0, 0, note.text, note.font.size or 12, anchor, note.font.color)
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
        parts += [_mark(x, y - 4, 5, color, symbol), _text(x + 10, y, trace.name, 12, "start")]
        x += wide
    return parts


def _long(name: str) -> str:
    """`x2` -> `xaxis2`, as layouts call it."""
    return f"{name[0]}axis{name[1:]}"


def _plain(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def _text(x: float, y: float, markup: str, size: int, anchor: str, color: str | None = None) -> str:
    """Lines of text; what plotly takes for markup is left out, all else escaped."""
    fill = f' fill="{color}"' if color else ""
    lines = [
        f'<tspan x="{x:.1f}" dy="{1.25 * size if i else 0:.1f}">{escape(_plain(line))}</tspan>'
        for i, line in enumerate(markup.split("<br>"))
    ]
    at = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{fill}'
    return f"<text {at}>{''.join(lines)}</text>"


def _line(x0, y0, x1, y1, color: str, width: float = 1, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    at = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {at} stroke="{color}" stroke-width="{width}"{dash}/>'


def _rectangle(box: tuple[float, float, float, float], fill: str, told: str, opacity: float = 1) -> str:
    """`box` is left, right, top, bottom."""
    left, right, top, bottom = box
    said = f"<title>{escape(told)}</title>" if told else ""
    at = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
    return f'<rect {at} fill="{fill}" opacity="{opacity}">{said}</rect>'

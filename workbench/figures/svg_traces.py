"""Traces of a plotly figure as pieces of SVG: bars, scatter and heatmaps."""

import numpy as np
import plotly.graph_objects as go

from . import marks
from .axes import Axis, error_bounds
from .look import KEPT

HATCHED = "url(#hatch)"  # `to_svg` replaces it by a pattern of its own
_DASHES = {"dash": "6 4", "dot": "2 4"}


def draw_trace(trace, x: Axis, y: Axis, bars: list[go.Bar], barmode: str | None, stack: dict) -> list[str]:
    """SVG elements of `trace`; nothing for types that this package does not use.

    `bars` are all bars of the panel, and `stack` maps a position to the height that is drawn there so far.
    """
    if trace.type == "bar":
        return _bars(trace, x, y, bars, barmode, stack)
    if trace.type in ("scatter", "scattergl"):
        return _scatter(trace, x, y)
    if trace.type == "heatmap" and trace.z is not None:
        return _heatmap(trace, x, y)
    return []


def _bars(trace: go.Bar, x: Axis, y: Axis, bars: list[go.Bar], barmode: str | None, stack: dict) -> list[str]:
    """Rectangles, each with a tooltip."""
    flat = trace.orientation == "h"
    along, across = (x, y) if flat else (y, x)
    lengths, positions = (trace.x, trace.y) if flat else (trace.y, trace.x)
    if lengths is None or positions is None:
        return []
    offset, thickness = _offset(trace, bars, barmode)
    bases = _each(trace.base, len(lengths))
    parts = []
    for position, length, base, fill in zip(positions, lengths, bases, _fills(trace), strict=True):
        if base is None:
            base = stack.get(position, 0)
            stack[position] = base + length if barmode == "stack" else 0
        ends = sorted((along(base), along(base + length)))
        sides = sorted((across(position, offset), across(position, offset + thickness)))
        if length:
            rectangle = (*ends, *sides) if flat else (*sides, *ends)
            parts.append(marks.rectangle(rectangle, fill, f"{position}: {length:,.4g} {trace.name or ''}"))
    if trace.text is not None and not flat:
        parts += [
            marks.text(x(position), y(length) - 4, str(text), 11, "middle")
            for position, length, text in zip(positions, lengths, trace.text, strict=True)
        ]
    return parts


def _offset(trace: go.Bar, bars: list[go.Bar], barmode: str | None) -> tuple[float, float]:
    """Where a bar starts, relative to its position, and how thick it is, both in units of the axis."""
    grouped = barmode not in ("stack", "overlay") and trace.base is None
    thickness = trace.width if _is_number(trace.width) else 0.8 / (len(bars) if grouped else 1)
    if _is_number(trace.offset):
        return trace.offset, thickness
    return (-0.4 + bars.index(trace) * thickness if grouped else -thickness / 2), thickness


def _is_number(value) -> bool:
    return isinstance(value, int | float)


def _fills(trace: go.Bar) -> list[str]:
    if trace.marker.pattern.shape:
        return [HATCHED] * len(trace.x)
    return [color or KEPT for color in _each(trace.marker.color, len(trace.x))]


def _scatter(trace, x: Axis, y: Axis) -> list[str]:
    """Band, line, markers or texts of a scatter trace."""
    points = [(x(a), y(b)) for a, b in zip(trace.x, trace.y, strict=True) if a is not None and b is not None]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    parts = []
    if trace.fill == "toself":
        parts.append(f'<polygon points="{path}" fill="{trace.fillcolor}" opacity="{trace.opacity or 1}"/>')
    mode = trace.mode or "markers"
    if "lines" in mode and points:
        dash = f' stroke-dasharray="{_DASHES[trace.line.dash]}"' if trace.line.dash in _DASHES else ""
        color = trace.line.color or KEPT
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
    for value, (low, high) in zip(trace.x, error_bounds(trace), strict=False):
        parts.append(marks.line(x(value), y(low), x(value), y(high), trace.error_y.color or KEPT))
    if "text" in mode:
        parts += [
            marks.text(a, b + 4, name, 12, "middle") for (a, b), name in zip(points, trace.text, strict=True)
        ]
    if "markers" in mode:
        colors, symbols = _each(trace.marker.color, len(points)), _each(trace.marker.symbol, len(points))
        radius = trace.marker.size / 2 if _is_number(trace.marker.size) else 3
        opacity = 1 if trace.marker.opacity is None else trace.marker.opacity
        symbols = [
            marks.mark(a, b, radius, color, symbol)
            for (a, b), color, symbol in zip(points, colors, symbols, strict=True)
        ]
        parts.append(f'<g opacity="{opacity}">{"".join(symbols)}</g>')
    return parts


def _heatmap(trace: go.Heatmap, x: Axis, y: Axis) -> list[str]:
    """Grey rectangles; the larger the value, the darker."""
    z = np.array(trace.z, float)  # None becomes NaN
    largest = np.nanmax(z) or 1
    half_x, half_y = ((side[1] - side[0]) / 2 for side in (trace.x, trace.y))
    parts = []
    for i, j in np.argwhere(np.isfinite(z)).tolist():
        sides = sorted((x(trace.x[j] - half_x), x(trace.x[j] + half_x)))
        ends = sorted((y(trace.y[i] - half_y), y(trace.y[i] + half_y)))
        opacity = round(0.1 + 0.55 * z[i, j] / largest, 2)
        parts.append(marks.rectangle((*sides, *ends), "#888888", "", opacity))
    return parts


def _each(value, n: int) -> list:
    return list(value) if isinstance(value, tuple | list | np.ndarray) else [value] * n

"""Axes of a plotly figure without plotly: pixels of values, and positions of ticks."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go


@dataclass(frozen=True)
class Axis:
    """Maps values to pixels: linear, from `low` at pixel `start` to `high` at `end`.

    Values of a category axis are names in `categories`, at 0, 1, 2, ...
    """

    low: float
    high: float
    start: float
    end: float
    categories: tuple[str, ...] = ()

    def __call__(self, value: float | str, offset: float = 0.0) -> float:
        """The pixel of a value or category, moved by `offset` in units of the axis."""
        number = (self.categories.index(str(value)) if self.categories else value) + offset
        return self.start + (number - self.low) / (self.high - self.low or 1) * (self.end - self.start)

    @property
    def labels(self) -> list[tuple[float | str, str]]:
        """Values with a tick, at most six round numbers or all categories, and their labels."""
        if self.categories:
            return [(name, name) for name in self.categories]
        low, high = sorted((self.low, self.high))
        rough = max(high - low, 1e-12) / 5
        power = 10 ** np.floor(np.log10(rough))
        step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough)
        values = np.arange(np.ceil(low / step) * step, high + step / 1e6, step)
        digits = max(0, -int(np.floor(np.log10(step))))
        return [(value, f"{value:,.{digits}f}") for value in values.tolist()]


def axes_of(figure: go.Figure, x_name: str, y_name: str, width: int, height: int) -> tuple[Axis, Axis]:
    """The axes of these names (`x`, `y2`, ...).

    Their ranges are those of the layout, or else hold all traces. `width` and `height` are in pixels.
    """
    margin = figure.layout.margin
    left, right = margin.l or 60, width - (margin.r or 20)
    top, bottom = margin.t or 70, height - (margin.b or 50)
    return _axis(figure, x_name, left, right), _axis(figure, y_name, bottom, top)


def _axis(figure: go.Figure, name: str, start: float, end: float) -> Axis:
    layout = figure.layout[long_name(name)]
    low, high = layout.domain or (0, 1)
    pixels = (start + low * (end - start), start + high * (end - start))
    categories, extent = _extent(figure, name)
    if layout.range and not categories:
        extent = tuple(layout.range)
    if layout.autorange == "reversed":
        pixels = pixels[::-1]
    return Axis(*extent, *pixels, categories)


def _extent(figure: go.Figure, name: str) -> tuple[tuple[str, ...], tuple[float, float]]:
    """Categories of an axis, and the range that holds all its traces with 4 % of room."""
    side, sums = name[0], {}
    ends: list[float] = []
    for trace in figure.data:
        values = [value for value in trace[side] if value is not None] if trace[side] is not None else []
        if (trace[side + "axis"] or side) != name or not values:
            continue
        if isinstance(values[0], str):
            categories = tuple(dict.fromkeys(values))
            return categories, (-0.5, len(categories) - 0.5)
        if trace.type != "bar":
            ends += values
            if side == "y":
                ends += [end for bounds in error_bounds(trace) for end in bounds]
        elif (trace.orientation == "h") == (side == "x"):
            ends += [0.0, *_tips(trace, values, sums if figure.layout.barmode == "stack" else {})]
        else:
            half = (trace.width if isinstance(trace.width, int | float) else 1) / 2
            ends += [min(values) - half, max(values) + half]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = 0.04 * (high - low or 1)
    return (), (low if low == 0 else low - room, high + room)


def error_bounds(trace: go.Scatter) -> list[tuple[float, float]]:
    """Lower and upper end of the vertical error bar of each point; without a bar, the point itself twice."""
    if trace.y is None or "error_y" not in trace or trace.error_y.array is None:
        return []  # e.g. a heatmap
    below = trace.error_y.array if trace.error_y.arrayminus is None else trace.error_y.arrayminus
    above = trace.error_y.array
    spans = zip(trace.y, np.nan_to_num(below), np.nan_to_num(above), strict=True)
    return [(float(y - low), float(y + high)) for y, low, high in spans]


def _tips(trace: go.Bar, lengths: list[float], sums: dict) -> list[float]:
    """Where the bars end. `sums` maps a position to the height stacked there so far, and is updated."""
    positions = trace.y if trace.orientation == "h" else trace.x
    bases = np.broadcast_to(trace.base if trace.base is not None else np.nan, len(lengths)).tolist()
    tips = []
    for position, length, base in zip(positions, lengths, bases, strict=True):
        start = sums.get(position, 0.0) if np.isnan(base) else base
        tips.append(start + length)
        if np.isnan(base):
            sums[position] = start + length
    return tips


def long_name(name: str) -> str:
    """The name of an axis in a layout: `x2` -> `xaxis2`."""
    return f"{name[0]}axis{name[1:]}"

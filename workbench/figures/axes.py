"""Axes of a plotly figure without plotly: from values to pixels, and where the ticks are."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go


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


def axes_of(figure: go.Figure, x_name: str, y_name: str, width: int, height: int) -> tuple[Axis, Axis]:
    """The axes called so, with the ranges that the layout gives or that hold all traces."""
    layout, margin = figure.layout, figure.layout.margin
    left, right = margin.l or 60, width - (margin.r or 20)
    top, bottom = margin.t or 70, height - (margin.b or 50)
    found = []
    for name, start, end in ((x_name, left, right), (y_name, bottom, top)):
        given = layout[long_name(name)]
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
        elif (trace.orientation == "h") == (side == "x"):
            ends += [0.0, *_tips(trace, values, sums if figure.layout.barmode == "stack" else {})]
        else:
            half = (trace.width if isinstance(trace.width, int | float) else 1) / 2
            ends += [min(values) - half, max(values) + half]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = 0.04 * (high - low or 1)
    return (), (low if low == 0 else low - room, high + room)


def _tips(trace: go.Bar, lengths: list[float], sums: dict) -> list[float]:
    """Where the bars end; `sums` is where those before them in the stack do."""
    places = trace.y if trace.orientation == "h" else trace.x
    bases = np.broadcast_to(trace.base if trace.base is not None else np.nan, len(lengths)).tolist()
    tips = []
    for place, length, base in zip(places, lengths, bases, strict=True):
        start = sums.get(place, 0.0) if np.isnan(base) else base
        tips.append(start + length)
        if np.isnan(base):
            sums[place] = start + length
    return tips


def long_name(name: str) -> str:
    """`x2` -> `xaxis2`, as layouts call it."""
    return f"{name[0]}axis{name[1:]}"

"""SVG elements: text, lines, rectangles and symbols. Positions are in pixels."""

import re
from html import escape, unescape

from .look import KEPT

_PATHS = {  # of symbols with radius 1
    "square": "M-.8-.8H.8V.8H-.8Z",
    "diamond": "M0-1.2L1 0L0 1.2L-1 0Z",
    "cross": "M-.35-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",
    "x": "M-.9-.5L-.5-.9L0-.4L.5-.9L.9-.5L.4 0L.9.5L.5.9L0 .4L-.5.9L-.9.5L-.4 0Z",
    "triangle-up": "M0-1L1 .8H-1Z",
    "triangle-down": "M0 1L1-.8H-1Z",
    "star": "M0-1.2L.35-.4L1.15-.35L.5.15L.7 1L0 .5L-.7 1L-.5.15L-1.15-.35L-.35-.4Z",
}


def mark(x: float, y: float, radius: float, color: str | None, symbol: str | None) -> str:
    """A symbol of plotly at (x, y); a circle if it is unknown."""
    color = color or KEPT
    if symbol not in _PATHS:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{color}"/>'
    transform = f"translate({x:.1f},{y:.1f}) scale({radius:.1f})"
    return f'<path d="{_PATHS[symbol]}" transform="{transform}" fill="{color}"/>'


def plain(markup: str) -> str:
    """The text of plotly's markup in one line, without tags and entities."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def _coloured(markup: str) -> str:
    """Plotly's markup as escaped text; a span of another colour becomes a `tspan`, other tags are dropped."""
    parts = re.split(r'<span style="color:(#[0-9A-Fa-f]{6})">(.*?)</span>', markup)
    pieces = [escape(plain(parts[0]))]
    for color, inside, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        pieces.append(f'<tspan fill="{color}">{escape(plain(inside))}</tspan> {escape(plain(after))}')
    return "".join(pieces)


def text(x: float, y: float, markup: str, size: int, anchor: str, color: str | None = None) -> str:
    """Lines of text, split at `<br>`, escaped, and without plotly's markup except colours."""
    fill = f' fill="{color}"' if color else ""
    lines = [
        f'<tspan x="{x:.1f}" dy="{1.25 * size if i else 0:.1f}">{_coloured(line)}</tspan>'
        for i, line in enumerate(markup.split("<br>"))
    ]
    at = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{fill}'
    return f"<text {at}>{''.join(lines)}</text>"


def line(x0, y0, x1, y1, color: str, width: float = 1, dashed: bool = False) -> str:
    """A straight line."""
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    at = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {at} stroke="{color}" stroke-width="{width}"{dash}/>'


def rectangle(box: tuple[float, float, float, float], fill: str, tooltip: str, opacity: float = 1) -> str:
    """`box` is left, right, top, bottom; no tooltip if it is empty."""
    left, right, top, bottom = box
    title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
    at = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
    return f'<rect {at} fill="{fill}" opacity="{opacity}">{title}</rect>'

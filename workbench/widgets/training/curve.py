"""The loss of a run as a light picture (SVG) that can be drawn anew twice a second."""

import math
from collections.abc import Callable

import numpy as np

from ...figures import ACCENT, KEPT, PALETTE

_WIDTH, _HEIGHT = 640, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 48, 26, 34  # room for the axes' numbers and names
_MOST = 200  # points of a line; of a longer history each stands for a stretch, with its range behind it
_PASS = PALETTE[2]

Scale = Callable[[float], float]


def loss_chart(history: list[dict]) -> str:
    """SVG of the training loss over the steps and, where `history` has them, of held-out loss and pass@1.

    Losses are in nats per token, on the left; pass@1 is a share, on the right. Empty without a loss.
    """
    loss, heldout, passed = (_column(history, name) for name in ("loss", "heldout_loss", "pass_at_1"))
    if not len(loss):
        return ""
    known = np.concatenate([loss, heldout])
    steps = (0, max(1, known[:, 0].max()))
    x = _scale(steps, (_LEFT, _WIDTH - _RIGHT))
    ticks = _ticks(known[:, 1].min(), known[:, 1].max())
    y = _scale((ticks[0], ticks[-1]), (_HEIGHT - _BOTTOM, _TOP))
    parts = [_grid(y, ticks), _steps_axis(x, steps[1]), *_training(loss, x, y)]
    names = [(KEPT, "training loss")]
    if len(heldout):
        parts += _marked(heldout, x, y, ACCENT)
        names.append((ACCENT, "held-out loss"))
    if len(passed):
        share = _scale((0, 1), (_HEIGHT - _BOTTOM, _TOP))
        parts += [_share_axis(share), *_marked(passed, x, share, _PASS, dash="2 4")]
        names.append((_PASS, "pass@1 (right)"))
    return (
        f'<svg role="img" aria-label="{_described(loss, heldout, passed)}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'style="width:100%;max-width:{_WIDTH}px;height:auto;display:block" fill="currentColor" '
        f'font-size="11.5" font-family="inherit">{_legend(names)}{"".join(parts)}</svg>'
    )


def _column(history: list[dict], name: str) -> np.ndarray:
    """Step and value of the records that have `name`: float [n, 2]."""
    found = [(record["step"], record[name]) for record in history if record.get(name) is not None]
    return np.array(found, float).reshape(-1, 2)


def _scale(values: tuple[float, float], pixels: tuple[float, float]) -> Scale:
    (low, high), (start, end) = values, pixels
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers, the first at most `low` and the last at least `high`."""
    rough = max(high - low, 0.01 * abs(high), 1e-6) / 4  # a flat line stays one, whatever its noise
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, max(last, first + 2) + 1)]


def _path(points: np.ndarray, x: Scale, y: Scale) -> str:
    return " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)


def _training(loss: np.ndarray, x: Scale, y: Scale) -> list[str]:
    """The line and, if it stands for more points than it has, their range."""
    parts, line = [], loss
    if len(loss) > _MOST:
        stretches = np.array_split(loss, _MOST)
        line = np.array([stretch.mean(axis=0) for stretch in stretches])
        lows, highs = (
            np.column_stack([line[:, 0], [end(stretch[:, 1]) for stretch in stretches]])
            for end in (np.min, np.max)
        )
        around = _path(np.concatenate([highs, lows[::-1]]), x, y)
        parts.append(f'<polygon points="{around}" fill="{KEPT}" opacity=".2"/>')
    if len(line) <= 40:
        parts += [f'<circle cx="{x(s):.1f}" cy="{y(v):.1f}" r="2.2" fill="{KEPT}"/>' for s, v in line]
    return [
        *parts,
        f'<polyline points="{_path(line, x, y)}" fill="none" stroke="{KEPT}" stroke-width="1.8"/>',
    ]


def _marked(points: np.ndarray, x: Scale, y: Scale, color: str, dash: str = "6 4") -> list[str]:
    """Few measurements: a diamond each, with a dashed line to lead the eye."""
    line = (
        f'<polyline points="{_path(points, x, y)}" fill="none" stroke="{color}" stroke-dasharray="{dash}" '
        f'stroke-width="1.5"/>'
    )
    diamond = '<path d="M{x:.1f} {y:.1f}m0 -5l5 5l-5 5l-5 -5z" fill="{color}"/>'
    return [line, *(diamond.format(x=x(step), y=y(value), color=color) for step, value in points)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" opacity=".8">{text}</text>'


def _grid(y: Scale, ticks: list[float]) -> str:
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0])))
    lines = [
        f'<path d="M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}" stroke="currentColor" opacity=".15"/>'
        + _text(_LEFT - 7, y(tick) + 4, f"{tick:.{digits}f}", "end")
        for tick in ticks
    ]
    return "".join(lines) + _text(0, 11, "nats per token", "start")


def _steps_axis(x: Scale, last: float) -> str:
    shown = [tick for tick in _ticks(0, last) if tick <= last and tick == round(tick)]
    numbers = [_text(x(tick), _HEIGHT - _BOTTOM + 16, f"{tick:,.0f}", "middle") for tick in shown]
    return "".join(numbers) + _text(_WIDTH - _RIGHT, _HEIGHT - 3, "optimizer step", "end")


def _share_axis(y: Scale) -> str:
    return "".join(
        _text(_WIDTH - _RIGHT + 7, y(share) + 4, f"{share:.0%}", "start") for share in (0, 0.25, 0.5, 0.75, 1)
    )


def _legend(names: list[tuple[str, str]]) -> str:
    """The names, each behind a spot of its line's colour, from the right."""
    parts = [
        f'<tspan fill="{color}" dx="{14 if i else 0}">■</tspan><tspan dx="4">{name}</tspan>'
        for i, (color, name) in enumerate(names)
    ]
    return f'<text x="{_WIDTH - _RIGHT}" y="11" text-anchor="end">{"".join(parts)}</text>'


def _described(loss: np.ndarray, heldout: np.ndarray, passed: np.ndarray) -> str:
    """The picture in words, for screen readers."""
    words = [f"Training loss from {loss[0, 1]:.3f} at step {loss[0, 0]:.0f} to {loss[-1, 1]:.3f} at step "]
    words[0] += f"{loss[-1, 0]:.0f}"
    if len(heldout):
        words.append(f"held-out loss {heldout[-1, 1]:.3f}")
    if len(passed):
        words.append(f"pass@1 {passed[-1, 1]:.1%}")
    return ", ".join(words)

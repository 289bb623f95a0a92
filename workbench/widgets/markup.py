"""HTML that several panels use. Escape what you pass, except plain texts: `tooltip`, `extra`, `status`."""

from pathlib import Path

import ipywidgets as w

from ..core.texts import escaped


def stylesheet() -> w.HTML:
    """The style of the dashboard, as an invisible widget."""
    css = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    return w.HTML(f"<style>{css}</style>").add_class("workbench-style")


def cell(
    name: str,
    value: str,
    tooltip: str,
    extra: str = "",
    change: str | None = None,
    width: str = "min-width:5em",
) -> str:
    """A number under its name, `extra` (e.g. a unit) in small behind it.

    A line for `change` follows unless it is None. `width` is a CSS property.
    """
    below = ""
    if change is not None:
        below = (
            '<div style="font-size:.85em;line-height:1.15;min-height:1.15em;opacity:.85;'
            f'font-variant-numeric:tabular-nums">{change}</div>'
        )
    return (
        f'<div style="{width}" title="{escaped(tooltip)}" data-name="{name}">'
        f'<div style="opacity:.85;line-height:1.3">{name}</div>'
        f'<div style="font-size:1.4em;line-height:1.25;font-variant-numeric:tabular-nums">{value}'
        f'<span style="font-size:.6em;opacity:.75"> {escaped(extra)}</span></div>{below}</div>'
    )


def inline_cell(name: str, value: str) -> str:
    """A name and its value in one line of text."""
    return (
        f'<span style="display:inline-block;margin-right:1.4em"><span style="opacity:.75">{name}</span> '
        f'<span style="font-variant-numeric:tabular-nums">{value}</span></span>'
    )


def box(content: str, color: str, alert: bool = False) -> str:
    """`content` beside a coloured bar; screen readers announce it at once if it is an `alert`."""
    role = 'role="alert" ' if alert else ""
    style = f"border-left:4px solid {color};padding:.3em .8em;line-height:1.45;overflow-wrap:anywhere"
    return f'<div {role}style="{style}">{content}</div>'


def status(text: str) -> str:
    """Text that screen readers announce when it changes."""
    return f'<span role="status">{escaped(text)}</span>'

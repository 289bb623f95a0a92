"""What a page shows where no widget is drawn: a picture of the dashboard, HTML of the other panels."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fallback:
    """HTML for a reopened notebook and for any page without widgets.

    A stylesheet hides it while the widget with the CSS class `widget_class` is on the page.
    """

    widget_class: str
    html: str

    def _repr_html_(self) -> str:
        name = f"twin-of-{self.widget_class}"
        return (
            f"<style>body:has(.{self.widget_class}) .{name} {{ display: none; }}</style>"
            f'<div class="{name}" style="max-width:1200px">{self.html}</div>'
        )

    def __repr__(self) -> str:
        return "<picture of the dashboard>"


class WithHtml:
    """A widget that also leaves its `html` on the page, for when no kernel runs."""

    html: str
    _ipython_display_ = None  # ipywidgets 7 defines it, and would show the widget without the HTML

    def _repr_mimebundle_(self, **options) -> dict:
        return {**view_of(self), "text/html": self.html}


def view_of(widget) -> dict:
    """MIME bundle of `widget`: its view and, for pages without widgets, its text."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"text/plain": repr(widget), "application/vnd.jupyter.widget-view+json": view}

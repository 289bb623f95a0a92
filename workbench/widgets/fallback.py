"""What stands where no widgets are: for the dashboard a picture that a live one hides, for panels HTML."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Twin:
    """HTML that shows in a reopened notebook and wherever no widget is drawn.

    A stylesheet hides it as long as the widget with the CSS class `live` is on the page.
    """

    live: str
    html: str

    def _repr_html_(self) -> str:
        return (
            f"<style>body:has(.{self.live}) .twin-of-{self.live} {{ display: none; }}</style>"
            f'<div class="twin-of-{self.live}" style="max-width:1200px">{self.html}</div>'
        )

    def __repr__(self) -> str:
        return "<the dashboard as it was drawn>"


class WithHtml:
    """A widget that also leaves its `html` on the page, for where no kernel runs."""

    html: str
    _ipython_display_ = None  # with it, ipywidgets 7 would show the widget alone

    def _repr_mimebundle_(self, **asked) -> dict:
        return {**view_of(self), "text/html": self.html}


def view_of(widget) -> dict:
    """What a page needs to draw `widget`, and its text for where there is none."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"text/plain": repr(widget), "application/vnd.jupyter.widget-view+json": view}

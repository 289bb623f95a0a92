"""The dashboard where no widgets are: a picture that a live dashboard hides."""

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

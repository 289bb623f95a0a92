"""Asked before a run is lost: a folder holds one, and another would take its place."""

from html import escape
from pathlib import Path

import ipywidgets as w

from ..training import Run


class Question(w.VBox):
    """Hidden until `ask`; the answers are the buttons `replace`, `move` (to the folder `other`), `cancel`."""

    def __init__(self):
        self.other = ""
        self.text = w.HTML()
        self.replace = w.Button(description="Replace it", button_style="danger", icon="trash")
        self.move = w.Button(icon="folder", layout=w.Layout(width="auto"))
        self.cancel = w.Button(description="Cancel")
        answers = w.HBox([self.replace, self.move, self.cancel], layout=w.Layout(flex_flow="row wrap"))
        super().__init__([self.text, answers])
        self.add_class("workbench-question")
        self.hide()

    def ask(self, run: Run) -> None:
        self.other = str(_free_beside(run.output_dir))
        self.move.description = f"Use {self.other}"
        self.text.value = (
            f'<div role="alert" style="border-left:4px solid #E69F00;padding:.3em .8em;line-height:1.4">'
            f"<b>{escape(str(run.output_dir))}</b> holds a run ({escape(run.status)}). "
            f"Replace it? Its model, log and checkpoints would be gone.</div>"
        )
        self.layout.display = ""

    def hide(self) -> None:
        self.layout.display = "none"


def _free_beside(folder: Path) -> Path:
    """`folder` with the first number that is not taken."""
    number = 2
    while (found := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return found

"""Fine-tune from the screen without blocking the notebook, and find the run again after a restart."""

import asyncio
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path

import ipywidgets as w

from ...core.errors import UserError
from ...selection import Selection
from ...training import Run, attach, finetune
from ...training.folder import RunFolder
from ..fallback import WithHtml
from ..markup import box
from ..tasks import ErrorPanel
from .form import TrainingForm
from .run import RunPanel


class TrainingPanel(WithHtml, w.VBox):
    """Settings on the left, and on the right the run in the chosen folder, also one from before a restart.

    `selected` is what Start trains on: a selection, or a function that gives one at the click. `settings` are
    those of `TrainingSettings`; what has no control stays as given. `run` is the run that is shown, or None.
    What goes wrong is shown in `errors`, by default in the panel itself.
    """

    def __init__(
        self,
        selected: Selection | Callable[[], Selection],
        errors: ErrorPanel | None = None,
        model: str | Path = "smollm2-135m",
        output_dir: str | Path = "runs/workbench",
        max_length: int = 2048,
        **settings,
    ):
        self._selected = selected if callable(selected) else lambda: selected
        self.errors = errors or ErrorPanel()
        self.form = TrainingForm(str(model), str(output_dir), {"max_length": max_length} | settings)
        self.start = w.Button(description="Fine-tune", button_style="primary", icon="play")
        self.question = Question()
        self.shown: RunPanel | None = None
        self._place = w.VBox(layout=w.Layout(flex="2 1 30em", min_width="0"))
        for button, does in (
            (self.start, self._start),
            (self.question.replace, self._replace),
            (self.question.move, self._move),
            (self.question.cancel, self._cancel),
        ):
            button.on_click(self.errors.guard(does))
        self.form.output_dir.observe(self.errors.guard(self._look), "value")
        self.errors.guard(self._look)()
        super().__init__(self._laid_out(own_errors=errors is None))
        self.add_class("workbench-training")

    def __repr__(self) -> str:
        """What is shown where no widgets are."""
        return f"<TrainingPanel of {self.run or 'no run yet'}>"

    @property
    def html(self) -> str:
        """The run as it is now."""
        return self.shown.html if self.shown else escape(repr(self))

    @property
    def run(self) -> Run | None:
        return self.shown.run if self.shown else None

    @property
    def folder(self) -> Path:
        """Where the run is, or will be."""
        named = self.form.output_dir.value.strip()
        if not named:
            raise UserError("the folder of the run has no name; type one, such as runs/mine.")
        return Path(named)

    def settings(self) -> dict:
        """What `wb.finetune` takes of `TrainingSettings`, as the controls have it now."""
        return self.form.settings()

    def _laid_out(self, own_errors: bool) -> list[w.Widget]:
        title = w.HTML('<b style="font-size:1.15em">Fine-tune on the kept rows</b>')
        left = w.VBox([self.form, self.start, self.question])
        left.layout = w.Layout(flex="1 1 19em", max_width="25em", margin="0 1.5em 0 0")
        columns = w.HBox([left, self._place], layout=w.Layout(flex_flow="row wrap"))
        return [title, *([self.errors] if own_errors else []), columns]

    def _look(self, change=None) -> None:
        """Show the run in the folder, if there is one."""
        self.question.hide()
        if self.shown:
            self.shown.close()
        self.shown = None
        self._say("No run in this folder yet. Its loss, speed, memory and time left will be here.")
        self.start.disabled = False
        if RunFolder(self.folder).state_file.exists():
            self.shown = RunPanel(attach(self.folder), self.errors)
            self.shown.observe(self._follow_active, "active")
            self._follow_active()
            self._place.children = [self.shown]

    def _say(self, text: str) -> None:
        self._place.children = [w.HTML(f'<div style="opacity:.75;padding:.4em 0">{escape(text)}</div>')]

    def _follow_active(self, change=None) -> None:
        self.start.disabled = self.shown.active

    def _start(self, button) -> None:
        self._look()  # another notebook may have been here
        if not self.shown:
            self._begin()
        elif not self.shown.active:
            self.question.ask(self.shown.run)

    def _replace(self, button) -> None:
        self._begin(overwrite=True)

    def _move(self, button) -> None:
        self.form.output_dir.value = self.question.other
        self._begin()

    def _cancel(self, button) -> None:
        self.question.hide()

    def _begin(self, overwrite: bool = False) -> None:
        self.question.hide()
        rows, model = self._selected().dataset, self.form.model.value
        begin = partial(
            finetune,
            rows,
            model,
            self.folder,
            overwrite=overwrite,
            detached=self.form.detached.value,
            **self.form.settings(),
        )
        self.start.disabled = self.form.output_dir.disabled = True
        self._say(f"Turns {len(rows):,} rows into the tokens of {model} …")
        self.errors.start(self._launched(begin))

    async def _launched(self, begin: Callable[[], Run]) -> None:
        try:
            await asyncio.to_thread(begin)
        finally:
            self.form.output_dir.disabled = False
            self._look()


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
        self.text.value = box(
            f"<b>{escape(str(run.output_dir))}</b> holds a run ({escape(run.status)}). "
            "Replace it? Its model, log and checkpoints will be deleted.",
            "#E69F00",
            alert=True,
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

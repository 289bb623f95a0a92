"""The panel that fine-tunes on a selection without blocking the notebook."""

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
    """The settings of a fine-tuning, and beside them the run in the chosen folder.

    A run that was started before, e.g. by a kernel that has been restarted, is shown too. A run is never
    replaced without a question.

    Parameters
    ----------
    selected : the selection to train on, or a function that returns it at the click on Fine-tune.
    errors : the panel that shows exceptions; by default this panel has its own.
    model : a short name, a local folder or a hub id.
    output_dir : folder of the run.
    max_length : maximum tokens per row.
    settings : other fields of `TrainingSettings`. Those without a control are used as they are.

    `run` is the run shown, or None. Raises UserError if a setting is unknown or wrong.
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
        self.run_panel: RunPanel | None = None
        self._right = w.VBox(layout=w.Layout(flex="2 1 30em", min_width="0"))
        for button, action in (
            (self.start, self._start),
            (self.question.replace, self._replace),
            (self.question.move, self._move),
            (self.question.cancel, self._cancel),
        ):
            button.on_click(self.errors.guard(action))
        self.form.output_dir.observe(self.errors.guard(self._show_run), "value")
        self.errors.guard(self._show_run)()
        super().__init__(self._layout_parts(own_errors=errors is None))
        self.add_class("workbench-training")

    def __repr__(self) -> str:
        """The text on pages without widgets."""
        return f"<TrainingPanel of {self.run or 'no run yet'}>"

    @property
    def html(self) -> str:
        """The current state of the run, for pages without widgets."""
        return self.run_panel.html if self.run_panel else escape(repr(self))

    @property
    def run(self) -> Run | None:
        """The run in the folder, or None."""
        return self.run_panel.run if self.run_panel else None

    @property
    def folder(self) -> Path:
        """The folder of the run. Raises UserError if the field is empty."""
        name = self.form.output_dir.value.strip()
        if not name:
            raise UserError("the folder of the run is empty; type one, such as runs/mine.")
        return Path(name)

    def settings(self) -> dict:
        """The current `TrainingSettings` as keyword arguments of `wb.finetune`."""
        return self.form.settings()

    def _layout_parts(self, own_errors: bool) -> list[w.Widget]:
        title = w.HTML('<b style="font-size:1.15em">Fine-tune on the kept rows</b>')
        left = w.VBox([self.form, self.start, self.question])
        left.layout = w.Layout(flex="1 1 19em", max_width="25em", margin="0 1.5em 0 0")
        columns = w.HBox([left, self._right], layout=w.Layout(flex_flow="row wrap"))
        return [title, *([self.errors] if own_errors else []), columns]

    def _show_run(self, change=None) -> None:
        """Show the run in the folder if there is one."""
        self.question.hide()
        if self.run_panel:
            self.run_panel.close()
        self.run_panel = None
        self._say("No run in this folder yet. Its loss, speed, memory and remaining time will appear here.")
        self.start.disabled = False
        if RunFolder(self.folder).state_file.exists():
            self.run_panel = RunPanel(attach(self.folder), self.errors)
            self.run_panel.observe(self._follow_active, "active")
            self._follow_active()
            self._right.children = [self.run_panel]

    def _say(self, text: str) -> None:
        self._right.children = [w.HTML(f'<div style="opacity:.75;padding:.4em 0">{escape(text)}</div>')]

    def _follow_active(self, change=None) -> None:
        self.start.disabled = self.run_panel.active

    def _start(self, button) -> None:
        self._show_run()  # another notebook may have started a run here
        if not self.run_panel:
            self._begin()
        elif not self.run_panel.active:
            self.question.ask(self.run_panel.run)

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
        self._say(f"Tokenizing {len(rows):,} rows for {model} …")
        self.errors.start(self._launch(begin))

    async def _launch(self, begin: Callable[[], Run]) -> None:
        try:
            await asyncio.to_thread(begin)
        finally:
            self.form.output_dir.disabled = False
            self._show_run()


class Question(w.VBox):
    """Asks before a run is replaced. Hidden until `ask`.

    The answers are the buttons `replace`, `move` (to the folder `other`) and `cancel`.
    """

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
        """Ask whether to replace `run`."""
        self.other = str(_free_folder(run.output_dir))
        self.move.description = f"Use {self.other}"
        self.text.value = box(
            f"<b>{escape(str(run.output_dir))}</b> holds a run ({escape(run.status)}). "
            "Replace it? Its model, log and checkpoints will be deleted.",
            "#E69F00",
            alert=True,
        )
        self.layout.display = ""

    def hide(self) -> None:
        """Hide the question."""
        self.layout.display = "none"


def _free_folder(folder: Path) -> Path:
    """`folder` with the first number, from 2, that is not in use."""
    number = 2
    while (free := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return free

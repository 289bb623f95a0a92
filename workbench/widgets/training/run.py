"""The panel of one run: progress, loss, log, and buttons to stop and resume it."""

from pathlib import Path

import ipywidgets as w
import traitlets

from ...training import Run, attach
from ..fallback import WithHtml
from ..tasks import ErrorPanel, Follower
from . import run_view
from .run_view import RunState


class RunPanel(Follower, WithHtml, w.VBox):
    """Shows a run and follows it until it ends.

    Shows status, progress, loss (nats per token), speed (tokens/s), peak memory (GiB), the last lines of the
    log, and buttons to stop the run and to resume it. Everything is read from the folder of the run, so a new
    panel shows the same after a restart of the kernel, for runs of any process.

    Parameters
    ----------
    run : a `Run`, or the folder of one. Raises UserError if the folder does not hold a run.
    errors : the panel that shows exceptions; by default this panel has its own.

    The trait `active` is True while the run is queued or running.
    """

    active = traitlets.Bool(False)

    def __init__(self, run: Run | str | Path, errors: ErrorPanel | None = None):
        self.run = run if isinstance(run, Run) else attach(run)
        self.errors = errors or ErrorPanel()
        self.about, self.status, self.meaning = w.HTML(), w.HTML(), w.Label()
        self.bar = w.IntProgress(layout=w.Layout(width="100%"))
        self.numbers, self.chart, self.outcome, self.lines = w.HTML(), w.HTML(), w.HTML(), w.HTML()
        self._charted: list[dict] | None = None
        self.stop = button("Stop", "stop", "Stop after this step and save a checkpoint")
        self.resume = button("Resume", "play", "Continue from the last checkpoint")
        self.stop.on_click(self.errors.guard(self._stop))
        self.resume.on_click(self.errors.guard(self._resume))
        parts = self._layout_parts()
        super().__init__(parts if errors else [self.errors, *parts])
        self.add_class("workbench-run")
        self.follow()

    def __repr__(self) -> str:
        """The text on pages without widgets."""
        return f"<RunPanel of {self.run!r}>"

    @property
    def html(self) -> str:
        """The current state without the controls."""
        parts = (self.about, self.status, self.numbers, self.chart, self.outcome)
        return "".join(part.value for part in parts)

    def _layout_parts(self) -> list[w.Widget]:
        log = w.Accordion([self.lines], selected_index=None)
        log.set_title(0, "Log")
        words = w.HBox([self.status, self.meaning])
        status = w.HBox([words, self.stop, self.resume])
        status.layout = w.Layout(justify_content="space-between", flex_flow="row wrap")
        return [self.about, status, self.bar, self.numbers, self.chart, self.outcome, log]

    def _read(self) -> RunState:
        return run_view.read(self.run)

    def _show(self, state: RunState) -> None:
        folder = str(self.run.output_dir)
        self.about.value = run_view.about(state, folder)
        self.status.value, self.meaning.value = run_view.badge(state), run_view.meaning(state)
        self.numbers.value = run_view.numbers(state)
        if state.history != self._charted:  # drawing takes about 50 ms
            self._charted, self.chart.value = state.history, run_view.chart(state.history)
        self.outcome.value, self.lines.value = run_view.outcome(state, folder), run_view.log(state)
        if state.last:
            self.bar.max, self.bar.value = state.last["of"], state.last["step"]
        self._show_progress(state)

    def _stop(self, button) -> None:
        self.run.request_stop()
        self.refresh()

    def _resume(self, button) -> None:
        self.run.resume()
        self.follow()


def button(name: str, icon: str, tooltip: str) -> w.Button:
    """A button of the width that all of a run's have."""
    return w.Button(description=name, icon=icon, tooltip=tooltip, layout=w.Layout(width="8em"))

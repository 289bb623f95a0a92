"""One run on the screen, whoever started it: how far it is, what it costs, and what to do next."""

import asyncio
from pathlib import Path

import ipywidgets as w
import traitlets

from ...training import Run, attach
from ..fallback import WithHtml
from ..tasks import ErrorPanel, has_loop
from . import run_view
from .curve import loss_chart
from .run_view import Standing, look

_EVERY = 0.5  # seconds between looks at the run


class RunPanel(WithHtml, w.VBox):
    """Progress of `run` (or of the run in that folder), its loss, its log, and buttons to stop and resume it.

    It holds nothing that is not in the run's folder: after a kernel's restart a new panel shows the same.
    `active` tells whether the run is queued or running.
    """

    active = traitlets.Bool(False)
    _following: asyncio.Task | None = None

    def __init__(self, run: Run | str | Path, errors: ErrorPanel | None = None):
        self.run = run if isinstance(run, Run) else attach(run)
        self.errors = errors or ErrorPanel()
        self.about, self.status, self.meaning = w.HTML(), w.HTML(), w.Label()
        self.bar = w.IntProgress(layout=w.Layout(width="100%"))
        self.numbers, self.chart, self.outcome, self.lines = w.HTML(), w.HTML(), w.HTML(), w.HTML()
        self.stop = _button("Stop", "stop", "End after this step, with a checkpoint")
        self.resume = _button("Resume", "play", "Go on from the last checkpoint")
        self.stop.on_click(self.errors.guard(self._stop))
        self.resume.on_click(self.errors.guard(self._resume))
        parts = self._laid_out()
        super().__init__(parts if errors else [self.errors, *parts])
        self.add_class("workbench-run")
        self.follow()

    def __repr__(self) -> str:
        """What is shown where no widgets are."""
        return f"<RunPanel of {self.run!r}>"

    @property
    def html(self) -> str:
        """What is shown now, without the controls."""
        shown = (self.about, self.status, self.numbers, self.chart, self.outcome)
        return "".join(part.value for part in shown)

    def _laid_out(self) -> list[w.Widget]:
        log = w.Accordion([self.lines], selected_index=None)
        log.set_title(0, "Log")
        words = w.HBox([self.status, self.meaning])
        status = w.HBox([words, self.stop, self.resume])
        status.layout = w.Layout(justify_content="space-between", flex_flow="row wrap")
        return [self.about, status, self.bar, self.numbers, self.chart, self.outcome, log]

    def follow(self) -> None:
        """Show how the run stands, now and, where an event loop runs, until it ends."""
        self.refresh()
        if self.active and has_loop():
            self._following = self.errors.start(self._follow())

    def refresh(self) -> None:
        """Show how the run stands now."""
        self._show(look(self.run))

    def close(self) -> None:
        """Leave the page; the run goes on."""
        if self._following:
            self._following.cancel()
        super().close()

    async def _follow(self) -> None:
        try:
            while self.active:
                await asyncio.sleep(_EVERY)
                self._show(await asyncio.to_thread(look, self.run))  # its files may be on a slow disk
        except Exception:
            self.active, self.stop.disabled = False, True
            raise

    def _show(self, now: Standing) -> None:
        folder = str(self.run.output_dir)
        self.about.value = run_view.about(now, folder)
        self.status.value, self.meaning.value = run_view.badge(now), run_view.meaning(now)
        self.numbers.value, self.chart.value = run_view.numbers(now), loss_chart(now.history)
        self.outcome.value, self.lines.value = run_view.outcome(now, folder), run_view.log(now)
        if now.last:
            self.bar.max, self.bar.value = now.last["of"], now.last["step"]
        _set_shown(self.bar, now.active)
        _set_shown(self.stop, now.active)
        self.stop.disabled = now.stopping
        _set_shown(self.resume, now.status in ("stopped", "failed") and not now.active)
        self.active = now.active

    def _stop(self, button) -> None:
        self.run.request_stop()
        self.refresh()

    def _resume(self, button) -> None:
        self.run.resume()
        self.follow()


def _set_shown(widget: w.DOMWidget, shown: bool) -> None:
    widget.layout.display = "" if shown else "none"


def _button(name: str, icon: str, meaning: str) -> w.Button:
    return w.Button(description=name, icon=icon, tooltip=meaning, layout=w.Layout(width="8em"))

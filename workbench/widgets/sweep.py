"""The panel of a sweep: progress, cost so far and to come, loss against ratio, verdict, and table."""

from dataclasses import dataclass
from pathlib import Path

import ipywidgets as w
import pandas as pd
import traitlets

from .. import figures
from ..core.texts import escaped
from ..cost import stored
from ..evidence import Sweep
from .fallback import WithHtml
from .markup import box, cell
from .tasks import ErrorPanel, Follower
from .training import run_view
from .training.run import button

_CHART_WIDTH = 640  # pixels
_MEANS = ["loss", "task_loss", "preference", "margin"]


@dataclass(frozen=True, eq=False)
class SweepState:
    """What the panel shows of a sweep at one moment. `seconds_left` is None if nothing tells it."""

    status: str
    active: bool
    stopping: bool
    progress: dict
    seconds_left: float | None
    summary: pd.DataFrame
    verdict: list[str]
    error: str | None


def read(sweep: Sweep) -> SweepState:
    """Read the state of `sweep`. Raises UserError if its folder no longer holds a sweep."""
    # `active` comes first: as long as it is True, the panel reads again.
    active, status, progress = sweep.active, sweep.status, sweep.progress
    left = progress["seconds_left"]
    return SweepState(
        status=status,
        active=active,
        stopping=sweep.stopping,
        progress=progress,
        seconds_left=predicted(sweep) if left is None else left,
        summary=sweep.summary,
        verdict=sweep.verdict,
        error=str(sweep.error) if sweep.error else None,
    )


def predicted(sweep: Sweep) -> float | None:
    """Seconds of training to come, from the stored calibration of each model; None without one.

    Not covered: attention's share, padding, and the evaluations.
    """
    seconds, waiting = 0.0, sweep.table.drop_duplicates("key").query("status != 'done'")
    for model, cells in waiting.groupby("model"):
        calibration = stored(model, **sweep.settings)
        if calibration is None:
            return None
        passes = cells["steps"].sum() * sweep.settings["accumulation"]
        seconds += calibration.pass_seconds * passes + calibration.step_seconds * cells["steps"].sum()
        seconds += calibration.token_seconds * cells["tokens"].sum()
    return float(seconds)


class SweepPanel(Follower, WithHtml, w.VBox):
    """Shows a sweep and follows it until it ends: cells, time so far and to come, loss against ratio,
    verdict, means over seeds, and buttons to stop and resume it.

    Everything is read from the folder, so a new panel shows the same after a restart of the kernel. The time
    to come follows from the finished cells or, before there are any, from a stored calibration
    (`wb.calibrate`).

    Parameters
    ----------
    sweep : a `Sweep`, or the folder of one. Raises UserError if the folder does not hold a sweep.
    """

    active = traitlets.Bool(False)
    _interval = 1.0

    def __init__(self, sweep: Sweep | str | Path):
        self.sweep = sweep if isinstance(sweep, Sweep) else Sweep(sweep)
        self.errors = ErrorPanel()
        self.about, self.status = w.HTML(), w.HTML()
        self.bar = w.IntProgress(layout=w.Layout(width="100%"))
        self.numbers, self.chart, self.verdict, self.means = w.HTML(), w.HTML(), w.HTML(), w.HTML()
        self.outcome = w.HTML()
        self.stop = button("Stop", "stop", "Stop after this optimizer step and save a checkpoint")
        self.resume = button("Resume", "play", "Continue; finished cells do not run again")
        self.stop.on_click(self.errors.guard(self._stop))
        self.resume.on_click(self.errors.guard(self._resume))
        table = w.Accordion([self.means], selected_index=None)
        table.set_title(0, "Means over seeds")
        head = w.HBox([self.status, self.stop, self.resume])
        head.layout = w.Layout(justify_content="space-between", flex_flow="row wrap")
        parts = [self.about, head, self.bar, self.numbers, self.outcome, self.chart, self.verdict, table]
        super().__init__([self.errors, *parts])
        self.add_class("workbench-sweep")
        self._done: int | None = None
        self.follow()

    def __repr__(self) -> str:
        """The text on pages without widgets."""
        return f"<SweepPanel of {self.sweep!r}>"

    @property
    def html(self) -> str:
        """The current state without the controls."""
        parts = (self.about, self.status, self.numbers, self.outcome, self.chart, self.verdict, self.means)
        return "".join(part.value for part in parts)

    def _read(self) -> SweepState:
        return read(self.sweep)

    def _show(self, state: SweepState) -> None:
        folder = str(self.sweep.output_dir)
        self.about.value = f"<b>Sweep in {escaped(folder)}</b>, equal {escaped(self.sweep.budget)}"
        self.status.value = run_view.badge(state)
        self.numbers.value = numbers(state)
        done = state.progress["done"]
        self.bar.max, self.bar.value = state.progress["cells"], done
        if done != self._done:
            self._done, self.chart.value = done, chart(state.summary)
            self.means.value = means(state.summary)
        self.verdict.value = verdict(state.verdict)
        self.outcome.value = box(escaped(state.error), "#D55E00", alert=True) if state.error else ""
        self._show_progress(state)

    def _stop(self, button) -> None:
        self.sweep.request_stop()
        self.refresh()

    def _resume(self, button) -> None:
        self.sweep.resume()
        self.follow()


def numbers(state: SweepState) -> str:
    """Cells, and the time so far and to come."""
    left = "unknown" if state.seconds_left is None else run_view.duration(state.seconds_left)
    done, cells = state.progress["done"], state.progress["cells"]
    rows = [
        ("cells", f"{done} of {cells}", "different trainings that are finished"),
        ("so far", run_view.duration(state.progress["seconds"]), "time of the finished cells"),
        ("to come", left, "from the tokens to come, at the pace of the finished cells or of a calibration"),
    ]
    style = "display:flex;flex-wrap:wrap;column-gap:1.1em;row-gap:.3em;margin:.4em 0"
    return f'<div style="{style}">{"".join(cell(*row) for row in rows)}</div>'


def chart(summary: pd.DataFrame) -> str:
    """SVG of the loss against the ratio; empty before the first cell is finished."""
    if summary.empty:
        return ""
    parts = [f"{line.arm} at {line.ratio:.0%} {line.loss:.4f}" for line in summary.itertuples()]
    return figures.to_svg(figures.sweep(summary), _CHART_WIDTH, "Held-out loss: " + ", ".join(parts))


def verdict(sentences: list[str]) -> str:
    """The sentences as a list."""
    items = "".join(f"<li>{escaped(sentence)}</li>" for sentence in sentences)
    return f'<ul class="workbench-verdict" style="line-height:1.45">{items}</ul>'


def means(summary: pd.DataFrame) -> str:
    """The means over seeds as a table."""
    columns = [*("arm", "ratio", "seeds", "n_rows", "tokens"), *(name for name in _MEANS if name in summary)]
    for name in ("learning_rate", "model"):
        if name in summary and summary[name].nunique() > 1:
            columns.insert(0, name)
    return "" if summary.empty else summary[columns].round(4).to_html(index=False, border=0)

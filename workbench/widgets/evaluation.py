"""The panel of an evaluation: each task with its prompt, program, verdicts and failing input."""

from collections.abc import Mapping

import ipywidgets as w
import pandas as pd

from .. import data
from ..core.errors import UserError
from ..evaluation import EvalReport
from . import verdicts
from .fallback import WithHtml
from .tasks import ErrorPanel

ALL, FLIPPED = "all", "flipped"
_MONOSPACE = "<style>.workbench-tasks select {font-family: var(--jp-code-font-family, monospace)}</style>"


class EvaluationPanel(WithHtml, w.VBox):
    """Lists the tasks of a report and shows one of them: prompt, program, verdicts and failing input.

    The list can be filtered by verdict and by name. Arrow keys in the field "Task" move through it; in the
    list itself JupyterLab captures them. All texts are escaped.

    Parameters
    ----------
    report : what `wb.evaluate` returns.
    against : a second report on the same tasks. The verdicts of both are shown side by side, and the verdict
        "flipped" lists the tasks that only one of them passes (in the chosen suite).
    prompts : task_id -> prompt, for reports without prompts.

    Raises UserError for anything but reports with tasks, and for reports that cannot be compared.
    """

    def __init__(
        self,
        report: EvalReport,
        against: EvalReport | None = None,
        *,
        prompts: Mapping[str, str] | None = None,
    ):
        _check(report=report, **({"against": against} if against is not None else {}))
        self.report, self.against = report, against
        self._rows = report.tasks.to_dict("records")
        self._others = {row["task_id"]: row for row in against.tasks.to_dict("records")} if against else {}
        self._prompts = _prompts(report) | dict(prompts or {})
        self.errors = ErrorPanel()
        self.summary = w.HTML()
        self.suite = w.Dropdown(options=list(report.scores.index), value=report.suite, description="Suite")
        self.verdict = w.Dropdown(description="Verdict")
        self.search = w.Text(description="Find", placeholder="part of a task's name")
        self.number = w.BoundedIntText(
            min=1, description="Task", continuous_update=True, layout=w.Layout(width="8em")
        )
        self.of = w.Label()
        self.tasks = w.Select(layout=w.Layout(width="auto", height="26em"))
        self.tasks.add_class("workbench-tasks")
        self.detail = w.HTML(layout=w.Layout(flex="1 1 24em", min_width="20em", margin="0 0 0 1em"))
        self._set_up()
        self._recount()
        wrap = w.Layout(flex_flow="row wrap", align_items="flex-start")
        listed = w.VBox([w.HTML(_MONOSPACE), self.tasks], layout=w.Layout(flex="0 1 auto"))
        filters = [self.suite, self.verdict, self.search, self.number, self.of]
        controls = w.HBox(filters, layout=w.Layout(flex_flow="row wrap"))
        super().__init__(
            [self.summary, controls, self.errors, w.HBox([listed, self.detail], layout=wrap)],
            layout=w.Layout(padding="4px"),
        )
        self.add_class("workbench-evaluation")

    def __repr__(self) -> str:
        """The text on pages without widgets."""
        second = f" and {self.against!r}" if self.against is not None else ""
        return f"<EvaluationPanel of {self.report!r}{second}>"

    @property
    def html(self) -> str:
        """The summary and the open task."""
        return self.summary.value + self.detail.value

    def _set_up(self) -> None:
        for control, callback in (
            (self.suite, self._recount),
            (self.verdict, self._list),
            (self.search, self._list),
            (self.number, self._choose),
            (self.tasks, self._show),
        ):
            control.style.description_width = "initial"
            control.observe(self.errors.guard(callback), "value")

    def _recount(self, change=None) -> None:
        """Update the summary and the counts of the filter, which refer to the chosen suite."""
        suite, before = self.suite.value, self.verdict.value
        compared = self.report.compare(self.against, suite) if self.against is not None else None
        self._flipped = set() if compared is None else set(compared.flipped["task_id"])
        self.summary.value = verdicts.summary(self.report, self.against, compared)
        counts = self.report.tasks[suite].value_counts()
        options = [(f"{ALL} ({len(self._rows)})", ALL)]
        if compared is not None:
            options.append((f"{FLIPPED} ({len(self._flipped)})", FLIPPED))
        options += [(f"{name} ({counts[name]})", name) for name in verdicts.SIGNS if name in counts]
        self.verdict.options = options
        self.verdict.value = before if before in [name for _, name in options] else ALL
        self._list()

    def _list(self, change=None) -> None:
        """List the tasks that match the filters; the chosen task stays chosen if it matches."""
        chosen, query = self.tasks.value, self.search.value.strip().lower()
        options = [
            (verdicts.line(row, self._others.get(row["task_id"]) if self.against else None), at)
            for at, row in enumerate(self._rows)
            if self._matches(row) and query in row["task_id"].lower()
        ]
        self.tasks.options = options
        indices = [at for _, at in options]
        self.tasks.value = chosen if chosen in indices else next(iter(indices), None)
        self.number.max, self.of.value = max(1, len(options)), f"of {len(options)}"
        self._show()

    def _choose(self, change) -> None:
        """Open the task with this number in the list."""
        if self.tasks.options:
            self.tasks.index = change["new"] - 1

    def _matches(self, row: dict) -> bool:
        if self.verdict.value == FLIPPED:
            return row["task_id"] in self._flipped
        return self.verdict.value in (ALL, row[self.suite.value])

    def _show(self, change=None) -> None:
        if self.tasks.value is None:
            self.detail.value = "<i>No task matches the filter.</i>"
            return
        self.number.value = self.tasks.index + 1
        row = self._rows[self.tasks.value]
        samples = {self.report.model: row}
        if self.against is not None:
            samples = {"first: " + self.report.model: row}
            samples["second: " + self.against.model] = self._others.get(row["task_id"])
        self.detail.value = verdicts.detail(row["task_id"], self._prompts.get(row["task_id"]), samples)


def _check(**reports) -> None:
    for name, report in reports.items():
        if not isinstance(report, EvalReport):
            raise UserError(f"{name}={report!r} is not a report; pass what wb.evaluate returns.")
        if not len(report.tasks):
            raise UserError(f"{name}: the report has no tasks; evaluate at least one.")


def _prompts(report: EvalReport) -> dict[str, str]:
    """task_id -> prompt, from the report or from the bundled data; empty if neither has them."""
    if "prompt" in report.tasks:
        prompts: pd.Series = report.tasks.set_index("task_id")["prompt"].dropna()
        return prompts[~prompts.index.duplicated()].to_dict()
    if report.benchmark == "bundled":
        tasks = data.load("bundled")
        return dict(zip(tasks["id"][:], tasks["instruction"][:], strict=True))
    return {}

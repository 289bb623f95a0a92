"""The panel of a cleaning report: rules, flagged rows, and which rules to leave out."""

import datasets
import ipywidgets as w
import numpy as np

from ... import figures
from ...cleaning.inspection import inspect
from ...cleaning.report import Inspection
from ...core.texts import escaped, one_line
from ..fallback import WithHtml
from ..markup import status
from ..tasks import ErrorPanel
from .row_view import MAX_LISTED, STYLE, TextView

_FIGURE_WIDTH = 900  # pixels
_EXCERPT = 70  # characters of an instruction in the list of rows


class InspectPanel(WithHtml, w.VBox):
    """A cleaning report to look through before the dashboard: wb.Workbench(panel.dataset).

    Each rule of the report has a line with the number of flagged rows, a button that lists them with the
    reasons, and a box; the rows of ticked rules are left out of `dataset`. No box is ticked at first.

    Parameters
    ----------
    data : a dataset, on which `wb.inspect` is called, or a report of it.

    `report` is the `Inspection`, `rules` the names of the ticked rules, and `dataset` the remaining rows.
    Raises UserError as `wb.inspect` does.
    """

    def __init__(self, data: datasets.Dataset | Inspection):
        self.report = data if isinstance(data, Inspection) else inspect(data)
        self.errors = ErrorPanel()
        self.boxes: dict[str, w.Checkbox] = {}
        self.buttons: dict[str, w.Button] = {}
        table = self.report.table
        lines = [
            self._line(*line) for line in table[["rule", "rows", "share", "meaning"]].itertuples(index=False)
        ]
        self.summary = w.HTML()
        self.list_title = w.HTML()
        self.list = w.Select(rows=8, layout=w.Layout(width="100%")).add_class("workbench-rows")
        self.list.observe(self.errors.guard(self._open), "value")
        self.instruction, self.response = TextView("Instruction"), TextView("Response")
        self.row_box = w.VBox(
            [self.list_title, self.list, self.instruction, self.response], layout=w.Layout(display="none")
        )
        overview = w.Accordion([w.HTML(self._figure), w.HTML(self._lengths)], selected_index=None)
        overview.set_title(0, "Figure")
        overview.set_title(1, "Lengths")
        rules = w.VBox(lines, layout=w.Layout(overflow="auto"))
        super().__init__([w.HTML(STYLE), self.errors, self.summary, rules, overview, self.row_box])
        self.add_class("workbench-inspect")
        self._summarize()

    def __repr__(self) -> str:
        """The text on pages without widgets."""
        return repr(self.report)

    @property
    def html(self) -> str:
        """The report without the controls."""
        return self.report._repr_html_() + self._figure

    @property
    def rules(self) -> tuple[str, ...]:
        """The ticked rules."""
        return tuple(rule for rule, box in self.boxes.items() if box.value)

    @property
    def dataset(self) -> datasets.Dataset:
        """The rows that no ticked rule flags; all rows if none is ticked."""
        return self.report.drop(*self.rules).dataset if self.rules else self.report.source

    @property
    def _figure(self) -> str:
        return figures.to_svg(figures.inspection(self.report), _FIGURE_WIDTH)

    @property
    def _lengths(self) -> str:
        tables = [self.report.lengths, *([] if self.report.roles is None else [self.report.roles])]
        return "".join(table.to_html(border=0, float_format="{:,.0f}".format) for table in tables)

    def _line(self, rule: str, n: int | None, share: float | None, meaning: str) -> w.HBox:
        """The box of a rule, the button that lists its rows, and its meaning."""
        checked = self.report.flags[rule].not_checked is None
        box = w.Checkbox(description=f"leave out {rule}", indent=False, disabled=not (checked and n))
        box.layout = w.Layout(width="14em")
        box.observe(self.errors.guard(self._summarize), "value")
        label = f"{n:,} rows, {share:.1%}" if checked else "not checked"
        button = w.Button(description=label, tooltip=f"List the rows of {rule}", disabled=not (checked and n))
        button.layout = w.Layout(width="11em")
        button.on_click(self.errors.guard(lambda button: self.show(rule)))
        self.boxes[rule], self.buttons[rule] = box, button
        return w.HBox([box, button, w.HTML(escaped(meaning))], layout=w.Layout(flex_flow="row wrap"))

    def _summarize(self, change=None) -> None:
        n_rows, n_left = len(self.report.source), int((~self.report.mask(*self.rules)).sum())
        self.summary.value = status(f"{n_left:,} of {n_rows:,} rows remain in .dataset")

    def show(self, rule: str) -> None:
        """List the rows that `rule` flags, with the reasons. Raises UserError for an unknown rule."""
        rows = np.flatnonzero(self.report.mask(rule))[:MAX_LISTED]
        flagged = self.report.flags[rule]
        texts = self.report.source.select_columns(["instruction"]).select(rows)["instruction"][:]
        labels = [
            f"{row:>7}  {one_line(text or '', _EXCERPT):<{_EXCERPT}}  {one_line(reason, _EXCERPT)}"
            for row, text, reason in zip(rows.tolist(), texts, flagged.reasons, strict=False)
        ]
        cut = f", the first {MAX_LISTED} listed" if len(flagged.rows) > MAX_LISTED else ""
        self.list_title.value = f"<b>{escaped(rule)}</b>: {len(flagged.rows):,} rows{cut}"
        self.list.index = None
        self.list.options = list(zip(labels, rows.tolist(), strict=True))
        self.row_box.layout.display = None
        if labels:
            self.list.index = 0
            self._open({"new": self.list.value})

    def _open(self, change) -> None:
        if change["new"] is None:
            return
        (row,) = (
            self.report.source.select_columns(["instruction", "response"]).select([change["new"]]).to_list()
        )
        self.instruction.show(row["instruction"] or "", "markdown")
        self.response.show(row["response"] or "", "python")

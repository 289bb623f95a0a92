"""A row to look at: its texts, its scores, what a selection makes of it, and what lies near."""

from collections.abc import Sequence

import datasets
import ipywidgets as w

from .. import selection
from ..core import tables
from ..core.errors import UserError
from ..core.texts import one_line
from ..coverage.language import languages
from ..selection import Selection
from . import facts, reading
from .events import ErrorPanel
from .gains import TokenGains
from .rows import RowList

_EXCERPT = 60  # characters of a neighbour's instruction


class Inspector(w.VBox):
    """Rows of `ds`, one at a time: `show(row)` opens one, `show_many(rows)` lists several to choose from.

    `ds` needs `instruction` and `response` alone; what other stages have added is shown where it is there.
    `row` is the open one's number. Given a selection of `ds` (`selected`, or later), it tells whether and
    why each row is kept, its rank, and the nearest kept rows; that stays until another one is given. Previous
    and next walk through the list, or else the table. What goes wrong is shown in `errors`, one's own unless
    given.
    """

    def __init__(
        self,
        ds: datasets.Dataset,
        *,
        model: str = "smollm2-135m",
        errors: ErrorPanel | None = None,
        selected: Selection | None = None,
    ):
        tables.require(ds, ["instruction", "response"], "wb.load")
        if not len(ds):
            raise UserError("the dataset has no rows to look at.")
        self.row, self.selection = -1, selected
        self._candidates = selected.candidates if selected else selection.candidates_of(ds)
        self.errors = errors or ErrorPanel()
        guard = self.errors.guard
        small = w.Layout(width="7em")
        self.previous = w.Button(description="Previous", icon="arrow-left", layout=small)
        self.next = w.Button(description="Next", icon="arrow-right", layout=small)
        self.previous.on_click(guard(lambda button: self._step(-1)))
        self.next.on_click(guard(lambda button: self._step(1)))
        self.number = w.BoundedIntText(
            value=0, min=0, max=len(ds) - 1, description="Row", layout=w.Layout(width="12em")
        )
        self.number.observe(guard(lambda change: self.show(change["new"])), "value")
        self.of = w.Label(f"of {len(ds):,}, from 0 on")
        self.list = RowList(guard(self.show))
        self.verdict, self.scores = w.HTML(), w.HTML()
        self.instruction, self.response = reading.TextView("Instruction"), reading.TextView("Response")
        self.near_title = w.HTML()
        self.near = w.HBox(layout=w.Layout(flex_flow="row wrap"))
        self.gains = TokenGains(model, self.errors)
        walk = w.HBox([self.previous, self.number, self.of, self.next], layout=w.Layout(flex_flow="row wrap"))
        texts = [self.instruction, self.response]
        about = [self.verdict, self.scores, *texts, self.gains, self.near_title, self.near]
        own = [] if errors else [self.errors]
        super().__init__([w.HTML(reading.STYLE), *own, self.list, walk, *about])
        self.add_class("workbench-inspector")
        self.show(0)

    def __repr__(self) -> str:
        """What is shown where no widgets are."""
        return f"<Inspector at row {self.row:,} of {len(self._candidates):,}>"

    def show(self, row: int, selection: Selection | None = None) -> None:
        """Open `row`, a number from 0 on."""
        n = len(self._candidates)
        if not 0 <= row < n:
            raise UserError(f"row={row!r} is no row of the dataset; give a number from 0 to {n - 1}.")
        self._use(selection)
        moved, self.row = row != self.row, int(row)
        if moved:
            self.number.value = self.row
            self.list.point_at(self.row)
            self._show_texts()
        if moved or selection is not None:
            self._show_about()
        at = self._walked.index(self.row) if self.row in self._walked else -1
        self.previous.disabled, self.next.disabled = at == 0, at == len(self._walked) - 1

    def show_many(self, rows: Sequence[int], selection: Selection | None = None) -> None:
        """List `rows`, in the order of the table, and open the first; nothing listed where there are none."""
        self._use(selection)
        rows = sorted({int(row) for row in rows})
        if rows and not 0 <= rows[0] <= rows[-1] < len(self._candidates):
            raise UserError(f"rows={rows[0]} to {rows[-1]} are not all rows of the dataset.")
        if not rows:
            self.list.rows, self.list.layout.display = [], "none"
            return
        self.list.show(rows, self._candidates, self.selection)
        self.row = -1  # shown anew, also where it was open
        self.show(rows[0])

    @property
    def _walked(self) -> Sequence[int]:
        return self.list.rows or range(len(self._candidates))

    def _use(self, selection: Selection | None) -> None:
        if selection is not None:
            self.selection, self._candidates = selection, selection.candidates

    def _step(self, by: int) -> None:
        rows = self._walked
        at = rows.index(self.row) + by if self.row in rows else 0
        self.show(rows[min(max(at, 0), len(rows) - 1)])

    def _show_texts(self) -> None:
        ds = self._candidates.source.select([self.row])
        language = str(languages(ds)[0])
        self.instruction.show(ds["instruction"][0] or "", "markdown")
        self.response.show(ds["response"][0] or "", "python" if language == "unnamed" else language)
        self.gains.show(self._candidates.source, self.row)

    def _show_about(self) -> None:
        self.scores.value = facts.scores(self._candidates.source, self.row)
        if self.selection is None:
            self.verdict.value = facts.cluster(self._candidates, self.row)
            return
        found = selection.about(self.selection, self.row)
        self.verdict.value = facts.verdict(found, self.selection)
        self.near_title.value = "<b>Nearest kept rows</b>, by cosine similarity" if found.nearest else ""
        self.near.children = [self._neighbour(row, similar) for row, similar in found.nearest]

    def _neighbour(self, row: int, similar: float) -> w.Button:
        text = one_line(self._candidates.source[row]["instruction"] or "", _EXCERPT)
        button = w.Button(description=f"{similar:.2f} · row {row} · {text}", layout=w.Layout(width="auto"))
        button.on_click(self.errors.guard(lambda _: self.show(row)))
        return button

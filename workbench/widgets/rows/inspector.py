"""The inspector: one row with its texts and scores, why it is kept or dropped, and similar rows."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import datasets
import ipywidgets as w

from ... import complexity, figures, selection
from ...core import tables
from ...core.errors import UserError
from ...core.texts import escaped, one_line
from ...coverage.language import languages
from ...selection import Selection
from ..tasks import ErrorPanel
from . import row_view
from .row_view import RowList, TextView

_EXCERPT = 60  # characters of a neighbour's instruction
_SCORE_SETTINGS = ("convention", "prompt", "max_length")  # that an explanation shares with the scores


class Inspector(w.VBox):
    """Shows rows of `ds`, one at a time.

    Shows the row's texts, its scores, the gain of the instruction on each token of the response (on
    request; loads a model) and, given a selection, whether and why the row is kept, its rank by IFD and the
    nearest kept rows by cosine similarity. Previous and Next go through the listed rows, or else through the
    whole table.

    Parameters
    ----------
    ds : a table with `instruction` and `response` (strings, may be None). Optional columns: `id`, `ifd`,
        `ppl_*`, `nll_*` (nats), `n_*` (tokens), `score_status`, `score_reason`, `duplicate_of`,
        `contaminated_by`, `cluster` and `embedding`.
    model : the model that explains a row, as for `wb.explain`.
    errors : the panel that shows exceptions; by default the inspector has its own.
    selected : a selection of `ds`; `show` and `show_many` can replace it.

    `row` is the index of the open row. Raises UserError if `ds` has no rows or lacks a required column.
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
        self._candidates = selected.candidates if selected else selection.Candidates(ds)
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
        self.of = w.Label(f"of {len(ds):,}, counted from 0")
        self.list = RowList(guard(self.show))
        self.verdict, self.scores = w.HTML(), w.HTML()
        self.instruction, self.response = TextView("Instruction"), TextView("Response")
        self.near_title = w.HTML()
        self.near = w.HBox(layout=w.Layout(flex_flow="row wrap"))
        self.gains = TokenGains(model, self.errors)
        walk = w.HBox([self.previous, self.number, self.of, self.next], layout=w.Layout(flex_flow="row wrap"))
        texts = [self.instruction, self.response]
        about = [self.verdict, self.scores, *texts, self.gains, self.near_title, self.near]
        own = [] if errors else [self.errors]
        super().__init__([w.HTML(row_view.STYLE), *own, self.list, walk, *about])
        self.add_class("workbench-inspector")
        self.show(0)

    def __repr__(self) -> str:
        """The text on pages without widgets."""
        return f"<Inspector at row {self.row:,} of {len(self._candidates):,}>"

    def show(self, row: int, selection: Selection | None = None) -> None:
        """Open `row`, an index from 0; a given `selection` replaces the current one.

        Raises UserError if there is no such row.
        """
        n = len(self._candidates)
        if not 0 <= row < n:
            raise UserError(f"row={row!r} is not a row of the dataset; give a number from 0 to {n - 1}.")
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
        """List `rows` in table order and open the first; an empty list closes the list.

        Raises UserError if a row is outside the table.
        """
        self._use(selection)
        rows = sorted({int(row) for row in rows})
        if rows and not 0 <= rows[0] <= rows[-1] < len(self._candidates):
            raise UserError(
                f"rows={rows[0]} to {rows[-1]} are not all rows of the dataset; give numbers from 0 to "
                f"{len(self._candidates) - 1}."
            )
        if not rows:
            self.list.rows, self.list.layout.display = [], "none"
            return
        self.list.show(rows, self._candidates, self.selection)
        self.row = -1  # so that a row that is open already is shown again
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
        self.scores.value = row_view.scores(self._candidates.source, self.row)
        if self.selection is None:
            self.verdict.value = row_view.cluster(self._candidates, self.row)
            return
        details = selection.row_details(self.selection, self.row)
        self.verdict.value = row_view.verdict(details, self.selection)
        self.near_title.value = "<b>Nearest kept rows</b> by cosine similarity" if details.nearest else ""
        self.near.children = [self._neighbour(row, similarity) for row, similarity in details.nearest]

    def _neighbour(self, row: int, similarity: float) -> w.Button:
        text = one_line(self._candidates.source[row]["instruction"] or "", _EXCERPT)
        button = w.Button(description=f"{similarity:.2f} · row {row} · {text}", layout=w.Layout(width="auto"))
        button.on_click(self.errors.guard(lambda _: self.show(row)))
        return button


class TokenGains(w.VBox):
    """A button that runs `wb.explain` on the open row, in the background if an event loop is running."""

    def __init__(self, model: str, errors: ErrorPanel):
        self._model, self._errors = model, errors
        self._ds: datasets.Dataset | None = None
        self._row = -1
        self.button = w.Button(
            description=f"Gain on each token (loads {model})",
            tooltip="Score the response with and without its instruction, token by token",
            layout=w.Layout(width="auto"),
        )
        self.button.on_click(errors.guard(self._start))
        self.line, self.tokens = w.HTML(), w.HTML()
        super().__init__([w.HBox([self.button, self.line]), self.tokens])

    def show(self, ds: datasets.Dataset, row: int) -> None:
        """Switch to `row` of `ds`; an explanation of another row that is still running is dropped."""
        self._ds, self._row = ds, row
        self.line.value = self.tokens.value = ""

    def _start(self, button) -> None:
        noted = tables.noted(self._ds, "score")
        settings = {name: noted[name] for name in _SCORE_SETTINGS if name in noted}
        explain = partial(complexity.explain, self._ds, self._row, self._model, **settings)
        self.button.disabled = True
        self.line.value = f"Scoring row {self._row} with {escaped(self._model)} …"
        self._task = self._errors.start(self._explain(self._row, explain))

    async def _explain(self, row: int, explain: Callable[[], complexity.Explanation]) -> None:
        try:
            explanation = await asyncio.to_thread(explain)
            if row == self._row:
                self.line.value = f"IFD {explanation.ifd:.4f} by {escaped(self._model)}"
                self.tokens.value = figures.token_gains(explanation.tokens).html
        except Exception:
            self.line.value = ""
            raise
        finally:
            self.button.disabled = False

"""Several rows as a list to choose from, with a summary."""

from collections.abc import Callable

import ipywidgets as w
import numpy as np

from ..core.texts import one_line
from ..selection import Candidates, Selection

LISTED = 500  # rows that a list still helps with
_EXCERPT = 90  # characters of an instruction in a line
STYLE = (
    "<style>.workbench-rows select{font-family:var(--jp-code-font-family,monospace);white-space:pre}</style>"
)


class RowList(w.VBox):
    """`rows`, of which `choice` opens one: a click or the arrow keys call `opened(row)`."""

    def __init__(self, opened: Callable[[int], None]):
        self.rows: list[int] = []
        self.summary = w.HTML()
        self.choice = w.Select(rows=8, layout=w.Layout(width="100%")).add_class("workbench-rows")
        self._opened, self._filling = opened, False
        self.choice.observe(self._chosen, "value")
        super().__init__([self.summary, self.choice], layout=w.Layout(display="none"))

    def show(self, rows: list[int], candidates: Candidates, selection: Selection | None) -> None:
        """List `rows`; none is opened yet."""
        self.rows = rows
        self.summary.value = f"<b>{_summary(candidates, rows, selection)}</b>" + STYLE
        listed = rows[:LISTED]
        texts = candidates.source.select(listed)["instruction"][:]
        labels = [_label(row, text, candidates, selection) for row, text in zip(listed, texts, strict=True)]
        self._filling = True  # a list takes its first line for chosen
        self.choice.options = list(zip(labels, listed, strict=True))
        self.choice.index = None
        self._filling = False
        self.layout.display = None

    def point_at(self, row: int) -> None:
        """Mark `row`, where it is listed, as the one that is open."""
        self.choice.value = row if row in self.rows[:LISTED] else None

    def _chosen(self, change) -> None:
        if change["new"] is not None and not self._filling:
            self._opened(change["new"])


def _label(row: int, text: str, candidates: Candidates, selection: Selection | None) -> str:
    ifd = candidates.ifd[row]
    told = "not scored" if np.isnan(ifd) else f"IFD {ifd:.3f}"
    kept = "" if selection is None else "kept    " if selection.mask[row] else "dropped "
    return f"{row:>7}  {kept}{told:>10}  {one_line(text or '', _EXCERPT)}"


def _summary(candidates: Candidates, rows: list[int], selection: Selection | None) -> str:
    words = [f"{len(rows):,} rows"]
    if selection is not None:
        words.append(f"{int(selection.mask[rows].sum()):,} kept")
    ifd = candidates.ifd[rows]
    if np.isfinite(ifd).any():
        words.append(f"mean IFD {np.nanmean(ifd):.3f}")
    if candidates.tokens is not None:
        words.append(f"{int(candidates.tokens[rows].sum()):,} tokens")
    if "cluster" in candidates.source.column_names:
        words.append(f"{len(np.unique(candidates.cluster[rows]))} clusters")
    if len(rows) > LISTED:
        words.append(f"the first {LISTED} listed")
    return " · ".join(words)

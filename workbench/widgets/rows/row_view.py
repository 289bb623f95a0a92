"""What the inspector shows of rows: a list of them, the texts of one, and its scores."""

from collections.abc import Callable

import datasets
import ipywidgets as w
import numpy as np
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from ...core.texts import escaped, one_line, visible
from ...selection import IFD, Candidates, RowDetails, Selection
from ..markup import inline_cell

MAX_LISTED = 500  # rows of a list that is still useful
MAX_SHOWN = 4_000  # characters of a text before the button for all of it
MAX_COLOURED = 50_000  # characters; highlighting a longer text takes a page seconds
_EXCERPT = 90  # characters of an instruction in a list
_FORMATTER = HtmlFormatter(nowrap=True, classprefix="workbench-")
# Pygments' classes -> the variables of JupyterLab's editor colours, which follow its theme.
_COLOURS = {
    "k": "keyword",
    "s": "string",
    "c": "comment",
    "m": "number",
    "nf": "def",
    "nc": "def",
    "nb": "builtin",
    "nd": "meta",
    "nt": "tag",
    "na": "attribute",
    "o": "operator",
    "gh": "header",
    "gu": "header",
}
_FONT = "var(--jp-code-font-family,monospace)"
STYLE = (
    f"<style>.workbench-rows select{{font-family:{_FONT};white-space:pre}}"
    f".workbench-text pre{{font:13px/1.5 {_FONT};white-space:pre-wrap;"
    "overflow-wrap:anywhere;max-height:24em;overflow-y:auto;margin:0;padding:.5em .7em;"
    "border:1px solid #8885;border-radius:3px}"
    + "".join(
        f'.workbench-text [class^="workbench-{kind}"]{{color:var(--jp-mirror-editor-{name}-color)}}'
        for kind, name in _COLOURS.items()
    )
    + "</style>"
)
_NUMBERS = {
    "ifd": ("IFD", "{:.4f}"),
    "ppl_response": ("perplexity of the response", "{:,.3f}"),
    "ppl_conditioned": ("given the instruction", "{:,.3f}"),
    "nll_response": ("NLL of the response, nats", "{:,.2f}"),
    "nll_conditioned": ("given the instruction, nats", "{:,.2f}"),
    "n_response": ("tokens scored", "{:,}"),
    "n_conditioned": ("given the instruction", "{:,}"),
    "n_tokens": ("tokens in training", "{:,}"),
}
_TEXTS = {
    "id": "id",
    "score_status": "status",
    "score_reason": "because",
    "duplicate_of": "duplicate of",
    "contaminated_by": "leaks",
}


def scores(ds: datasets.Dataset, row: int) -> str:
    """HTML of the row's id, status and numbers, for the columns that `ds` has."""
    columns = [name for name in (*_TEXTS, *_NUMBERS) if name in ds.column_names]
    (values,) = ds.select_columns(columns).select([row]).to_list() if columns else ({},)
    cells = [
        inline_cell(name, escaped(str(values[column])))
        for column, name in _TEXTS.items()
        if values.get(column) is not None
    ]
    cells += [
        inline_cell(name, form.format(values[column]))
        for column, (name, form) in _NUMBERS.items()
        if values.get(column) is not None
    ]
    return "".join(cells)


def verdict(details: RowDetails, selection: Selection) -> str:
    """HTML: whether the row is kept or dropped, why, and its rank."""
    strategy = escaped(selection.settings["strategy"])
    by_hand = selection.hand is not None and selection.hand.pinned[details.row]
    parts = [
        f"<b>Kept</b> by {'hand' if by_hand else strategy}"
        if details.reason is None
        else f"<b>Dropped</b>: {escaped(details.reason)}"
    ]
    pool = "of all" if details.cluster is None else f"in cluster {details.cluster}"
    by = selection.candidates.by
    label = "IFD" if by == IFD else escaped(by)
    if details.rank is not None:
        parts.append(f"rank {details.rank:,} of {details.ranked:,} eligible rows {pool}, by {label}")
    elif details.cluster is not None:
        parts.append(f"cluster {details.cluster}")
    return " · ".join(parts)


def cluster(candidates: Candidates, row: int) -> str:
    """The row's cluster and its size; empty if the table has no clusters."""
    if "cluster" not in candidates.source.column_names:
        return ""
    label = candidates.cluster[row]
    return f"cluster {label}, of {np.count_nonzero(candidates.cluster == label):,} rows"


def coloured(text: str, language: str) -> str:
    """HTML of `text` with the syntax of `language` highlighted; plain if Pygments does not know it."""
    try:
        lexer = get_lexer_by_name("markdown" if "```" in text else language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escaped(text)
    html = highlight(visible(text), lexer, _FORMATTER)
    return html if text.endswith("\n") else html.removesuffix("\n")  # the formatter ends every line


class TextView(w.VBox):
    """A text under its title. A long one is cut; the button `more` shows all of it."""

    def __init__(self, title: str):
        self._title, self._text, self._language = title, "", ""
        self.head, self.body = w.HTML(), w.HTML().add_class("workbench-text")
        self.more = w.Button(layout=w.Layout(width="auto", display="none"))
        self.more.on_click(lambda button: self._write(len(self._text)))
        super().__init__([self.head, self.body, self.more])

    def show(self, text: str, language: str) -> None:
        """Show `text`, highlighted as `language`."""
        self._text, self._language = text, language
        self._write(MAX_SHOWN)

    def _write(self, n: int) -> None:
        text, total = self._text[:n], len(self._text)
        length = f"{total:,} characters" + ("" if n >= total else f", the first {n:,} shown")
        self.head.value = f'<b>{self._title}</b> <span style="opacity:.75">{length}</span>'
        html = coloured(text, self._language) if len(text) <= MAX_COLOURED else escaped(text)
        self.body.value = f'<pre tabindex="0" aria-label="{self._title}">{html}</pre>'
        self.more.description = f"Show all of {total:,} characters"
        self.more.layout.display = "none" if n >= total else None


class RowList(w.VBox):
    """A list of rows under a summary. A click or the arrow keys call `on_open(row)`."""

    def __init__(self, on_open: Callable[[int], None]):
        self.rows: list[int] = []
        self.summary = w.HTML()
        self.choice = w.Select(rows=8, layout=w.Layout(width="100%")).add_class("workbench-rows")
        self._on_open, self._filling = on_open, False
        self.choice.observe(self._open, "value")
        super().__init__([self.summary, self.choice], layout=w.Layout(display="none"))

    def show(self, rows: list[int], candidates: Candidates, selection: Selection | None) -> None:
        """List `rows` without opening one."""
        self.rows = rows
        self.summary.value = f"<b>{_summary(candidates, rows, selection)}</b>"
        listed = rows[:MAX_LISTED]
        texts = candidates.source.select(listed)["instruction"][:]
        labels = [_label(row, text, candidates, selection) for row, text in zip(listed, texts, strict=True)]
        self._filling = True  # setting the options selects the first one
        self.choice.options = list(zip(labels, listed, strict=True))
        self.choice.index = None
        self._filling = False
        self.layout.display = None

    def point_at(self, row: int) -> None:
        """Mark `row` as open if it is listed."""
        self.choice.value = row if row in self.rows[:MAX_LISTED] else None

    def _open(self, change) -> None:
        if change["new"] is not None and not self._filling:
            self._on_open(change["new"])


def _label(row: int, text: str, candidates: Candidates, selection: Selection | None) -> str:
    ifd = candidates.ifd[row]
    score = "not scored" if np.isnan(ifd) else f"IFD {ifd:.3f}"
    kept = "" if selection is None else "kept    " if selection.mask[row] else "dropped "
    return f"{row:>7}  {kept}{score:>10}  {one_line(text or '', _EXCERPT)}"


def _summary(candidates: Candidates, rows: list[int], selection: Selection | None) -> str:
    parts = [f"{len(rows):,} rows"]
    if selection is not None:
        parts.append(f"{int(selection.mask[rows].sum()):,} kept")
    ifd = candidates.ifd[rows]
    if np.isfinite(ifd).any():
        parts.append(f"mean IFD {np.nanmean(ifd):.3f}")
    if candidates.tokens is not None:
        parts.append(f"{int(candidates.tokens[rows].sum()):,} tokens")
    if "cluster" in candidates.source.column_names:
        parts.append(f"{len(np.unique(candidates.cluster[rows]))} clusters")
    if len(rows) > MAX_LISTED:
        parts.append(f"the first {MAX_LISTED} listed")
    return " · ".join(parts)

"""What is known of a row, as HTML: its scores, and what a selection makes of it."""

import datasets
import numpy as np

from ..core.texts import escaped
from ..selection import About, Candidates, Selection

_NUMBERS = {
    "ifd": ("IFD", "{:.4f}"),
    "ppl_response": ("perplexity of the response", "{:,.3f}"),
    "ppl_conditioned": ("given the instruction", "{:,.3f}"),
    "nll_response": ("nll of the response, nats", "{:,.2f}"),
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
_CELL = (
    '<span style="display:inline-block;margin-right:1.4em"><span style="opacity:.75">{name}</span> '
    '<span style="font-variant-numeric:tabular-nums">{value}</span></span>'
)


def scores(ds: datasets.Dataset, row: int) -> str:
    """The row's numbers and their status, as far as the table has them."""
    has = [name for name in (*_TEXTS, *_NUMBERS) if name in ds.column_names]
    (cells,) = ds.select_columns(has).select([row]).to_list() if has else ({},)
    told = {name: str(cells[column]) for column, name in _TEXTS.items() if cells.get(column) is not None}
    shown = [_CELL.format(name=name, value=escaped(value)) for name, value in told.items()]
    for column, (name, form) in _NUMBERS.items():
        if cells.get(column) is not None:
            shown.append(_CELL.format(name=name, value=form.format(cells[column])))
    return "".join(shown)


def verdict(found: About, selection: Selection) -> str:
    """Kept or dropped, why, and the row's rank."""
    strategy = escaped(selection.settings["strategy"])
    kept = (
        f"<b>Kept</b> by {strategy}" if found.reason is None else f"<b>Dropped</b>: {escaped(found.reason)}"
    )
    words = [kept]
    where = "of all" if found.cluster is None else f"in cluster {found.cluster}"
    if found.rank is not None:
        words.append(f"rank {found.rank:,} of {found.ranked:,} eligible rows {where}, by IFD")
    elif found.cluster is not None:
        words.append(f"cluster {found.cluster}")
    return " · ".join(words)


def cluster(candidates: Candidates, row: int) -> str:
    """The row's cluster, where no selection tells more."""
    if "cluster" not in candidates.source.column_names:
        return ""
    label = candidates.cluster[row]
    return f"cluster {label}, of {np.count_nonzero(candidates.cluster == label):,} rows"

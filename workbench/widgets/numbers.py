"""The numbers of a selection: what it keeps, what it covers, and what training on it costs."""

from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets as w

from ..core.texts import escaped
from ..packing import PackPlan
from ..selection import STRATEGIES, Selection
from .state import Cost, State

_TOOLTIPS = {
    "rows kept": "rows to train on, and their share of all rows, including rows without a score",
    "tokens kept": "training tokens of the kept rows, and their share of all tokens",
    "mean IFD": "mean IFD of the kept rows; higher means more complex",
    "clusters lost": "clusters without a kept row",
    "divergence": "Jensen-Shannon divergence (bits) between the clusters' shares of all and of kept rows",
    "MMD": "maximum mean discrepancy in embedding space; 0 if the kept rows are distributed like all rows",
    "coverage radius": "largest cosine distance from a row to the nearest kept row",
    "90 % within": "90 % of the rows have a kept row within this cosine distance",
    "near-duplicates": "share of kept rows whose cosine similarity to another kept row is at least 0.95",
    "padding": "share of the computed tokens that is padding, with the chosen packing",
    "steps per epoch": "batches of packed rows; one optimizer step each unless gradients are accumulated",
    "predicted time": "time of the training on this device",
    "predicted memory": "peak memory of the training on this device",
}
_STYLE = """<style>
.workbench-figures { display: grid; column-gap: .35em; align-items: baseline;
  font-size: 12px; line-height: 19px;
  grid-template-columns: minmax(0, 1fr) minmax(4.6em, max-content) 3.1em minmax(4.7em, max-content);
  font-variant-numeric: tabular-nums; --muted: var(--wb-muted, inherit) }
.workbench-figures > section, .workbench-figures > section > div { display: contents }
.workbench-figures h4, .workbench-figures p { grid-column: 1 / -1; color: var(--muted) }
.workbench-figures h4 { margin: 6px 0 1px; padding-top: 4px; border-top: 1px solid var(--wb-line, #8884);
  font-size: 11px; font-weight: 600; line-height: 16px; letter-spacing: .06em; text-transform: uppercase }
.workbench-figures p { margin: 0; min-height: 2.7em; font-size: 11.5px; line-height: 1.35 }
.workbench-figures .name { white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.workbench-figures .value { text-align: right; font-size: 15px; font-weight: 500 }
.workbench-figures .unit, .workbench-figures .change { color: var(--muted); font-size: 11px }
.workbench-figures .unit, .workbench-figures .change { white-space: nowrap }
.workbench-figures .change { text-align: right }
</style>"""
_SHORT = {  # below their headings
    **{"rows kept": "rows", "tokens kept": "tokens"},
    **{"predicted time": "time", "predicted memory": "peak memory"},
}
_MANY = 1_000_000  # a change from here on is shown in millions


@dataclass(frozen=True)
class Number:
    """A number with its format and, behind it in small, its unit or share. None is not shown."""

    value: float | None
    form: str
    unit: str = ""

    @property
    def text(self) -> str:
        return "" if self.value is None else self.form.format(self.value)

    def since(self, before: "Number | None") -> str:
        """The change since `before` with an arrow; empty if it rounds to zero."""
        if before is None or self.value is None or before.value is None or self.text == before.text:
            return ""
        change = self.value - before.value
        size = self.form.format(abs(change))
        if size == self.form.format(0):
            return ""
        sign = "\u25b2" if change > 0 else "\u25bc"  # the shape matters: colour alone is not enough
        return f"{sign} {size}" if abs(change) < _MANY else f"{sign} {abs(change) / 1e6:,.2f} M"


class Numbers(w.HTML):
    """The numbers of `state`, each with its change since the controls last came to rest.

    Three groups: Kept (rows, training tokens, mean IFD), Coverage (clusters lost, divergence in bits and, if
    there are embeddings, MMD and cosine distances) and Training (padding, steps, predicted minutes and GiB).
    """

    def __init__(self, state: State):
        super().__init__()
        self._state = state
        self.add_class("workbench-numbers")
        self.refresh()
        state.on_change(self.refresh)
        state.on_settle(self.refresh)

    def refresh(self) -> None:
        """Show the current numbers."""
        state = self._state
        self.value = html_of(state.selection, state.before, state.plan, state.plan_before, state.predict)


def html_of(
    selection: Selection,
    before: Selection | None = None,
    plan: PackPlan | None = None,
    plan_before: PackPlan | None = None,
    predict: Callable[[PackPlan], Cost] | None = None,
) -> str:
    """HTML of the three groups of numbers, each number with its change since `before`."""
    old = _groups(before, plan_before, predict) if before else {}
    groups = "".join(
        _group(title, numbers, old.get(title, {}), _share_note(selection) if title == "Kept" else "")
        for title, numbers in _groups(selection, plan, predict).items()
    )
    return f'{_STYLE}<div class="workbench-figures">{groups}</div>'


def _groups(selection: Selection, plan: PackPlan | None, predict) -> dict[str, dict[str, Number]]:
    return {"Kept": _kept(selection), "Coverage": _coverage(selection), "Training": _training(plan, predict)}


def _group(title: str, numbers: dict[str, Number], old: dict[str, Number], note: str) -> str:
    """A heading, a line for each number that has a value, and a `note` below them."""
    lines = "".join(
        f'<div title="{escaped(_TOOLTIPS[name])}" data-name="{name}"><div class="name">'
        f'{_SHORT.get(name, name)}</div><div class="value">{number.text}</div>'
        f'<div class="unit">{escaped(number.unit)}</div>'
        f'<div class="change">{number.since(old.get(name))}</div></div>'
        for name, number in numbers.items()
        if number.value is not None
    )
    below = f"<p>{escaped(note)}</p>" if note else ""
    return f"<section><h4>{title}</h4>{lines}{below}</section>" if lines else ""


def _share_note(selection: Selection) -> str:
    """How the share of the rows kept follows from the budget."""
    report, ratio = selection.report, selection.settings["ratio"]
    all_rows = f"{report.n_rows:,} rows"
    if ratio is None:
        return f"Shares are of all {all_rows}."
    if selection.hand:
        return f"{100 * ratio:g} % of the rows left by hand, of {all_rows}."
    strategy = STRATEGIES[selection.settings["strategy"]]
    of_all = strategy.ratio_pool == "all"
    pool = report.n_rows if of_all else report.n_eligible
    pooled = all_rows if of_all or pool == report.n_rows else f"the {pool:,} eligible of {all_rows}"
    budget = f"{100 * ratio:g} % of {pooled}"
    by_cluster = "cluster" in strategy.needs
    if not report.n_kept:
        return f"{budget} is less than one row{' in each cluster' if by_cluster else ''}."
    if report.n_kept >= int(pool * ratio):
        return f"{budget}."
    why = ", rounded down in each cluster" if by_cluster else "; the strategy has no more to offer"
    return f"{budget}{why}."


def _kept(selection: Selection) -> dict[str, Number]:
    report, coverage = selection.report, selection.coverage
    share = coverage.tokens_kept / max(1, int(selection.candidates.tokens.sum()))
    return {
        "rows kept": Number(report.n_kept, "{:,}", f"{report.share_of_all:.1%}"),
        "tokens kept": Number(coverage.tokens_kept, "{:,}", f"{share:.1%}"),
        "mean IFD": Number(report.mean_ifd_kept, "{:.3f}"),
    }


def _coverage(selection: Selection) -> dict[str, Number]:
    report, coverage = selection.report, selection.coverage
    numbers = {
        "clusters lost": Number(report.clusters_lost, "{:,}", f"of {len(report.clusters)}"),
        "divergence": Number(report.divergence, "{:.4f}", "bits"),
    }
    if selection.candidates.embedding is not None:
        numbers |= {
            "MMD": Number(coverage.mmd, "{:.4f}"),
            "coverage radius": Number(coverage.radius, "{:.3f}"),
            "90 % within": Number(coverage.distance_90, "{:.3f}"),
            "near-duplicates": Number(coverage.near_duplicates, "{:.1%}"),
        }
    return numbers


def _training(plan: PackPlan | None, predict) -> dict[str, Number]:
    cost = predict(plan) if predict and plan and plan.n_rows else None
    return {
        "padding": Number(plan and plan.padding_rate, "{:.1%}"),
        "steps per epoch": Number(plan and len(plan.samples_per_step), "{:,}"),
        "predicted time": Number(cost and cost.seconds / 60, "{:,.1f}", "min" if cost else ""),
        "predicted memory": Number(cost and cost.peak_bytes / 2**30, "{:,.1f}", "GiB" if cost else ""),
    }

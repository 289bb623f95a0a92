"""The numbers of a selection: what it keeps, what it covers, and what training on it costs."""

from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets as w

from ..packing import PackPlan
from ..selection import Selection
from .markup import cell
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
    "predicted time": "of the training; click Estimate to predict it",
    "predicted memory": "peak memory of the training; click Estimate to predict it",
}
_WIDTH = "flex:0 0 10.5em"
_GROUP = (
    '<div style="display:flex;gap:1em;padding:.25em 0;border-top:1px solid rgba(136,136,136,.25)">'
    '<div style="flex:0 0 5.5em;font-weight:600;opacity:.8;line-height:1.3">{title}</div>'
    '<div style="display:flex;flex-wrap:wrap;flex:1">{cells}</div></div>'
)


@dataclass(frozen=True)
class Number:
    """A number with its format and, behind it in small, its unit or share; None is shown as a dash."""

    value: float | None
    form: str
    extra: str = ""

    @property
    def text(self) -> str:
        return "\u2013" if self.value is None else self.form.format(self.value)

    def since(self, before: "Number | None") -> str:
        """The change since `before` with an arrow; empty if the text does not change."""
        if before is None or self.value is None or before.value is None or self.text == before.text:
            return ""
        change = self.value - before.value
        sign = "\u25b2" if change > 0 else "\u25bc"  # the shape matters: colour alone is not enough
        return f"{sign} {self.form.format(abs(change))}"


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
    return "".join(
        _group(title, numbers, old.get(title, {}))
        for title, numbers in _groups(selection, plan, predict).items()
    )


def _groups(selection: Selection, plan: PackPlan | None, predict) -> dict[str, dict[str, Number]]:
    return {"Kept": _kept(selection), "Coverage": _coverage(selection), "Training": _training(plan, predict)}


def _group(title: str, numbers: dict[str, Number], old: dict[str, Number]) -> str:
    cells = [
        cell(name, number.text, _TOOLTIPS[name], number.extra, number.since(old.get(name)), _WIDTH)
        for name, number in numbers.items()
    ]
    return _GROUP.format(title=title, cells="".join(cells))


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
        "padding": Number(plan and plan.padding_rate, "{:.1%}", plan.strategy if plan else ""),
        "steps per epoch": Number(plan and len(plan.samples_per_step), "{:,}"),
        "predicted time": Number(cost and cost.seconds / 60, "{:,.1f}", "min" if cost else ""),
        "predicted memory": Number(cost and cost.peak_bytes / 2**30, "{:,.1f}", "GiB" if cost else ""),
    }

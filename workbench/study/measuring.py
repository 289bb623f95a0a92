"""What a study measures of its models on the held-out rows, and the sentences that it ends with."""

import datasets
import pandas as pd

from ..evaluation import EvalReport, evaluate, statistics, twins, why_unconfined
from ..training import Run
from .recipe import Recipe

PROBES = 4  # easy tasks that decide whether pass@1 is worth its time
_PROBE_TOKENS = 128  # an easy task needs no longer answer
_TWINS = 2  # of a task: what more of them add is small beside more tasks, and each costs a forward pass
# Measure -> its unit and the sign of a better value. Preference is the share of margins above 0,
# so a test of both would test one thing twice.
_TESTED = {"loss": ("nats/token", -1), "margin": ("nats", 1)}
FORMS = {"loss": "{:+.4f}", "preference": "{:+.1%}", "margin": "{:+.3f}", "pass@1": "{:+.1%}"}
COLUMNS = ("first", "second", "measure", "difference", "low", "high", "p_value", "detectable")


def measures_of(recipe: Recipe, held_out: datasets.Dataset) -> tuple[tuple[str, ...], str]:
    """The measures for the models of a study, and a sentence about pass@1.

    Loss always, and preference if a reference has a broken twin. "pass" only if the model to fine-tune solves
    one of the 4 held-out tasks with the shortest reference, in 128 tokens: a model that solves none of them
    hardly solves others, and to generate their answers takes minutes. Never "pass" where code cannot be
    confined.
    """
    measures = ("loss", "preference") if len(twins(held_out, per_task=_TWINS)) else ("loss",)
    if "check" not in held_out.column_names:
        return measures, "pass@1 is not measured: the rows have no tests (column 'check')"
    if reason := why_unconfined():
        return measures, f"pass@1 is not measured: {reason}"
    lengths = pd.Series([len(text) for text in held_out["response"]])
    easy = held_out.select(sorted(lengths.nsmallest(PROBES).index))
    probe = evaluate_on(recipe, recipe.model, easy, ("pass",), min(_PROBE_TOKENS, recipe.max_new_tokens))
    solved = f"{recipe.model} solves {probe.n_passed} of the {len(easy)} easiest held-out tasks"
    if not probe.n_passed:
        return measures, f"pass@1 is not measured: {solved}"
    return (*measures, "pass"), f"pass@1 is measured: {solved}"


def evaluate_on(
    recipe: Recipe,
    model: str | Run,
    rows: datasets.Dataset,
    measures: tuple[str, ...],
    max_new_tokens: int | None = None,
) -> EvalReport:
    """`wb.evaluate` with the settings of `recipe`."""
    return evaluate(
        model,
        rows,
        measures=measures,
        n_twins=_TWINS,
        template=recipe.training.template,
        max_new_tokens=max_new_tokens or recipe.max_new_tokens,
        dtype=recipe.training.dtype,
    )


def differences(reports: dict[str, EvalReport], strategy: str) -> pd.DataFrame:
    """The selection against every other model, paired by held-out row.

    A row for each other model and measure: `first` (the other model), `second` (`strategy`), `difference`
    (second minus first), its 95 % interval over the held-out rows (`low`, `high`), `p_value`, and
    `detectable`, the true difference that these rows can show with probability 0.8.
    """
    rows = []
    if strategy in reports:
        for name, report in reports.items():
            if name == strategy:
                continue
            for measure, row in report.compare(reports[strategy]).measures.iterrows():
                numbers = {column: row[column] for column in COLUMNS[3:]}
                rows.append({"first": name, "second": strategy, "measure": measure} | numbers)
    return pd.DataFrame(rows, columns=COLUMNS)


def verdict(table: pd.DataFrame, strategy: str) -> str:
    """One sentence about the selection and the random rows, from `differences`.

    The p-values of loss and margin against all random arms are corrected together (Holm).
    """
    table = table[table["first"].str.startswith("random") & table["measure"].isin(_TESTED)]
    if table.empty:
        return f"no random rows to compare {strategy} with"
    table = table.assign(shown=statistics.holm(table["p_value"]) < statistics.ALPHA)
    parts = [f"against {name} {_against(rows)}" for name, rows in table.groupby("first", sort=False)]
    return f"{strategy}: {'; '.join(parts)}. One training each: another seed may change this."


def _against(rows: pd.DataFrame) -> str:
    shown = [_change(row) for row in rows[rows["shown"]].itertuples()]
    if shown:
        return " and ".join(shown)
    limits = [f"{row.detectable:.3g} {_TESTED[row.measure][0]} of {row.measure}" for row in rows.itertuples()]
    return f"no difference is shown (these rows can show {' or '.join(limits)})"


def _change(row) -> str:
    form, (unit, sign) = FORMS[row.measure], _TESTED[row.measure]
    better = "better" if row.difference * sign > 0 else "worse"
    low, high = form.format(row.low), form.format(row.high)
    return f"a {better} {row.measure} ({form.format(row.difference)} {unit}, 95 %: {low} to {high})"

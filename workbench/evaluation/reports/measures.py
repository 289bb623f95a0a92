"""Loss, preference and margin of a report, by task: estimates with intervals, and paired differences."""

import math

import pandas as pd

from .. import statistics

# Measure -> (column of `EvalReport.tasks`, column with the weight of a task).
COLUMNS = {
    "loss": ("loss", "n_tokens"),
    "preference": ("preference", "n_twins"),
    "margin": ("margin", "n_twins"),
}


def by_task(tasks: pd.DataFrame, measure: str) -> pd.DataFrame:
    """`value` and `weight` of each task that has `measure`, indexed by task id; empty if none has."""
    column, weight = COLUMNS[measure]
    if column not in tasks:
        return pd.DataFrame(columns=["value", "weight"], dtype=float)
    table = tasks.drop_duplicates("task_id").set_index("task_id")
    table = table[[column, weight]].set_axis(["value", "weight"], axis=1).astype(float)
    return table[table["value"].notna() & (table["weight"] > 0)]


def estimate(tasks: pd.DataFrame, measure: str) -> statistics.Estimate | None:
    """The measure over all tasks, or None if no task has it.

    If the preference is the same for all tasks (usually 1), the bootstrap has no scatter to work with; its
    interval is then Wilson's, with each task counted once.
    """
    table = by_task(tasks, measure)
    if table.empty:
        return None
    value = statistics.mean_interval(table["value"], weights=table["weight"])
    if measure == "preference" and not value.high > value.low:
        low, high = statistics.wilson(value.value * value.n, value.n)
        return statistics.Estimate(value.value, low, high, value.n, statistics.detectable_share(value.n))
    return value


def difference(first: pd.DataFrame, second: pd.DataFrame, measure: str) -> statistics.Difference | None:
    """The paired difference, second minus first, over the tasks that have `measure` in both, else None.

    A task counts only if both reports weigh it the same: the loss per token of models with different
    tokenizers cannot be compared, nor can different sets of twins.
    """
    other = by_task(second, measure).add_suffix("_second")
    both = by_task(first, measure).join(other, how="inner")
    both = both[both["weight"] == both["weight_second"]]
    if both.empty:
        return None
    return statistics.paired_difference(both["value"], both["value_second"], weights=both["weight"])


def detectable_pass(n: int, differing: int | None = None) -> float:
    """The true difference of pass@1 (0 to 1) that `n` tasks detect with probability 0.8 at the 5 % level.

    For two models on tasks of their own, at worst (both near 0.5); with `differing`, the number of tasks that
    only one of them passes, for both on the same tasks. Fewer than 6 of those can never reach p < 0.05 in the
    exact McNemar test, so 6 are assumed at least.
    """
    if not n:
        return math.nan
    if differing is None:
        return statistics.detectable_share(n)
    return statistics.detectable_share(n, discordance=min(1.0, max(differing, 6) / n))

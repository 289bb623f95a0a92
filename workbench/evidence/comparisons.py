"""Comparisons of the cells of a sweep, corrected for their number.

All functions are pure: they take the table of a sweep (`Sweep.table`) and the measurements by held-out row.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..evaluation import statistics

ALL = "all rows"  # the arm of the cells that train on all rows
RANDOM_ARMS = ("random", "random-tokens")

# Cell key -> measure -> (values, weights), float64 [rows] each.
Rows = Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class Measure:
    """A measure that arms are compared by; `sign` is +1 if a larger value is worse, else -1."""

    name: str
    unit: str
    sign: int


# Preference is the share of margins above 0: a test of both would test one thing twice.
MEASURES = (Measure("loss", "nats per token", 1), Measure("margin", "nats of margin", -1))
_COLUMNS = [
    *("model", "learning_rate", "measure", "arm", "ratio", "against", "against_ratio"),
    *("difference", "low", "high", "p_value", "p_holm", "detectable", "seeds", "against_seeds"),
]
GROUP = ["model", "learning_rate"]


@dataclass(frozen=True)
class Pair:
    """Two sets of cells (seeds) to compare: `cells` of an arm at a ratio, and `others`."""

    measure: str
    arm: str
    ratio: float
    against: str
    against_ratio: float
    cells: tuple[str, ...]
    others: tuple[str, ...]


def comparisons(table: pd.DataFrame, rows: Rows | None = None) -> pd.DataFrame:
    """Compare each strategy, at each ratio, with all rows, with random rows, and with random rows of as many
    tokens.

    Without cells on all rows, the largest ratio of the strategy takes their place. Only finished cells count,
    and only pairs with two seeds or more each. Models and learning rates are compared within themselves.

    Args:
        table: `Sweep.table`, at least its columns arm, ratio, model, learning_rate, status, key and loss.
        rows: values by held-out row of each cell. Without them, the intervals cover seeds alone.

    Returns:
        A row per comparison: the measure ("loss", in nats per token, or "margin", in nats), the arm and
        ratio, what they are compared with, `difference` (the arm minus the other) with its 95 % interval
        (`low`, `high`), `p_value`, `p_holm` (Holm's correction over all rows of this table), `detectable`
        (the true difference that this design shows with probability 0.8 after a correction for as many
        comparisons), and the seeds of both.
    """
    pairs = [
        (group, pair)
        for group, part in finished(table).groupby(GROUP, sort=False)
        for measure in MEASURES
        for pair in pairs_of(part, measure.name)
    ]
    alpha = statistics.ALPHA / max(1, len(pairs))
    lines = []
    for group, pair in pairs:
        result = difference_of(table, rows, pair, alpha=alpha)
        numbers = [result.value, result.low, result.high, result.p_value, math.nan, result.detectable]
        names = [pair.measure, pair.arm, pair.ratio, pair.against, pair.against_ratio]
        lines.append([*group, *names, *numbers, len(pair.cells), len(pair.others)])
    compared = pd.DataFrame(lines, columns=_COLUMNS)
    compared["p_holm"] = statistics.holm(compared["p_value"]) if len(compared) else []
    return compared


def finished(table: pd.DataFrame) -> pd.DataFrame:
    """The finished cells."""
    return table[table["status"] == "done"]


def pairs_of(table: pd.DataFrame, measure: str) -> list[Pair]:
    """The pairs to compare among the finished cells of one model and learning rate."""
    if measure not in table or table[measure].isna().any():
        return []
    keys = table.groupby(["arm", "ratio"], sort=False)["key"].agg(lambda own: tuple(dict.fromkeys(own)))
    pairs = []
    for (arm, ratio), own in keys.items():
        if arm in (ALL, *(RANDOM_ARMS if _has_strategy(table) else ())):
            continue
        largest = max(r for a, r in keys.index if a == arm)
        reference = (ALL, 1.0) if (ALL, 1.0) in keys.index else (arm, largest)
        for other in (reference, *((name, ratio) for name in RANDOM_ARMS)):
            others = keys.get(other, ())
            if min(len(own), len(others)) >= 2 and set(own) != set(others):
                pairs.append(Pair(measure, arm, ratio, *other, own, others))
    return pairs


def _has_strategy(table: pd.DataFrame) -> bool:
    """Whether an arm is neither random nor all rows."""
    return not set(table["arm"]) <= {ALL, *RANDOM_ARMS}


def difference_of(
    table: pd.DataFrame,
    rows: Rows | None,
    pair: Pair,
    *,
    alpha: float = statistics.ALPHA,
    confidence: float = statistics.CONFIDENCE,
) -> statistics.Difference:
    """The difference of a pair, its cells minus the others."""
    own, weights = _values(table, rows, pair.cells, pair.measure)
    others, _ = _values(table, rows, pair.others, pair.measure)
    return statistics.difference_of_runs(others, own, weights, alpha=alpha, confidence=confidence)


def _values(table: pd.DataFrame, rows: Rows | None, keys: tuple[str, ...], measure: str):
    """Values of these cells, float64 [cells, rows], and the weights of the rows."""
    if rows is None:
        means = table.drop_duplicates("key").set_index("key")[measure]
        return means.loc[list(keys)].to_numpy(float)[:, None], np.ones(1)
    weights = rows[keys[0]][measure][1]
    counted = weights > 0
    return np.stack([rows[key][measure][0] for key in keys])[:, counted], weights[counted]

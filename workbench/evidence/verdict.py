"""What a sweep shows: comparisons of its cells, corrected for their number, and sentences about them.

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
_GROUP = ["model", "learning_rate"]


@dataclass(frozen=True)
class _Pair:
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
        for group, part in _finished(table).groupby(_GROUP, sort=False)
        for measure in MEASURES
        for pair in _pairs(part, measure.name)
    ]
    alpha = statistics.ALPHA / max(1, len(pairs))
    lines = []
    for group, pair in pairs:
        result = _difference(table, rows, pair, alpha=alpha)
        numbers = [result.value, result.low, result.high, result.p_value, math.nan, result.detectable]
        names = [pair.measure, pair.arm, pair.ratio, pair.against, pair.against_ratio]
        lines.append([*group, *names, *numbers, len(pair.cells), len(pair.others)])
    compared = pd.DataFrame(lines, columns=_COLUMNS)
    compared["p_holm"] = statistics.holm(compared["p_value"]) if len(compared) else []
    return compared


def _finished(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["status"] == "done"]


def _pairs(table: pd.DataFrame, measure: str) -> list[_Pair]:
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
                pairs.append(_Pair(measure, arm, ratio, *other, own, others))
    return pairs


def _has_strategy(table: pd.DataFrame) -> bool:
    """Whether an arm is neither random nor all rows."""
    return not set(table["arm"]) <= {ALL, *RANDOM_ARMS}


def _difference(
    table: pd.DataFrame,
    rows: Rows | None,
    pair: _Pair,
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


def verdict(table: pd.DataFrame, rows: Rows | None = None) -> list[str]:
    """What the sweep shows, in sentences; see `comparisons` for the parameters and the statistics.

    A difference is called only if its p-value, corrected by Holm's method over all comparisons, is at most
    0.05: a sweep without any true difference calls one with probability 0.05 at most. Of ratios without a
    shown difference, the sentence bounds the difference to all rows (simultaneous 95 % intervals). A ratio is
    named as better than all rows only by loss and margin together, and never from one seed.
    """
    compared = comparisons(table, rows)
    sentences = _progress(table)
    if compared.empty:
        return [*sentences, _nothing(table)]
    several = len(_finished(table)[_GROUP].drop_duplicates()) > 1
    for (model, rate), part in compared.groupby(_GROUP, sort=False):
        prefix = f"{model}, learning rate {rate:g}: " if several else ""
        cells = _finished(table)
        cells = cells[(cells["model"] == model) & (cells["learning_rate"] == rate)]
        own = [*_against_reference(part, cells, rows), *_against_random(part), _best(part)]
        sentences += [prefix + sentence for sentence in own]
    return sentences


def _progress(table: pd.DataFrame) -> list[str]:
    n, done = table["key"].nunique(), _finished(table)["key"].nunique()
    return [] if n == done else [f"{done} of {n} cells are finished; what follows can still change"]


def _nothing(table: pd.DataFrame) -> str:
    if _finished(table).empty:
        return "no cell is finished: nothing can be said yet"
    if len(table[["arm", "ratio"]].drop_duplicates()) == 1:
        return "there is one arm at one ratio: nothing to compare"
    return (
        "no two arms or ratios have two finished seeds each: no difference can be told from chance, and no "
        "best ratio is named; take seeds=3 or more"
    )


def _against_reference(compared: pd.DataFrame, cells: pd.DataFrame, rows: Rows | None) -> list[str]:
    """Sentences on each arm against all rows, with one for neighbouring ratios of the same outcome."""
    sentences = []
    for measure in MEASURES:
        pairs = {(pair.arm, pair.ratio, pair.against): pair for pair in _pairs(cells, measure.name)}
        own = compared[(compared["measure"] == measure.name) & ~compared["against"].isin(RANDOM_ARMS)]
        for arm, part in own.groupby("arm", sort=False):
            part = part.sort_values("ratio")
            outcome = part.apply(_outcome, axis=1, sign=measure.sign)
            for _, run in part.groupby((outcome != outcome.shift()).cumsum(), sort=False):
                members = [pairs[arm, ratio, against] for ratio, against in run[["ratio", "against"]].values]
                sentences.append(_of_ratios(run, outcome[run.index[0]], measure, cells, rows, members))
    return sentences


def _of_ratios(run: pd.DataFrame, outcome: str, measure: Measure, cells, rows, pairs: list[_Pair]) -> str:
    first, last = run.iloc[0], run.iloc[-1]
    where = f"at {_percent(first['ratio'])}"
    if len(run) > 1:
        where = f"between {_percent(first['ratio'])} and {_percent(last['ratio'])}"
    reference = ALL if first["against"] == ALL else _percent(first["against_ratio"])
    start = f"{first['arm']}, {where}: "
    if outcome:
        span = _interval(first) if len(run) == 1 else _span(run)
        return f"{start}{outcome} than {reference}, {span} {measure.unit}, {_p(run['p_holm'].max())}"
    confidence = 1 - (1 - statistics.CONFIDENCE) / len(pairs)
    bounds = [_difference(cells, rows, pair, confidence=confidence) for pair in pairs]
    most = max(max(abs(bound.low), abs(bound.high)) for bound in bounds)
    return (
        f"{start}no difference from {reference} shown (at most {most:.3g} {measure.unit}, 95 %); this design "
        f"could have shown {run['detectable'].max():.3g}"
    )


def _against_random(compared: pd.DataFrame) -> list[str]:
    """A sentence for each comparison with random rows."""
    sentences = []
    for measure in MEASURES:
        own = compared[(compared["measure"] == measure.name) & compared["against"].isin(RANDOM_ARMS)]
        for _, line in own.iterrows():
            outcome = _outcome(line, sign=measure.sign)
            ending = f"{outcome}, {_p(line['p_holm'])}" if outcome else "no difference shown"
            sentences.append(
                f"{line['arm']} against {line['against']} at {_percent(line['ratio'])}: {_interval(line)} "
                f"{measure.unit}, {_seeds(line)}: {ending}; this design could have shown "
                f"{line['detectable']:.3g}"
            )
    return sentences


def _best(compared: pd.DataFrame) -> str:
    """A sentence that names the ratios that are better than all rows by loss and margin, or says why none."""
    measured = [measure for measure in MEASURES if (compared["measure"] == measure.name).any()]
    if len(measured) < len(MEASURES):
        return "no best ratio is named: loss alone was measured; give tasks= for preference and margin"
    better = []
    for measure in MEASURES:
        own = compared[(compared["measure"] == measure.name) & ~compared["against"].isin(RANDOM_ARMS)]
        outcome = own.apply(_outcome, axis=1, sign=measure.sign)
        better.append(set(own.loc[outcome == "better", ["arm", "ratio"]].itertuples(index=False, name=None)))
    both = sorted(set.intersection(*better))
    if not both:
        return "no best ratio is named: none is better than all rows by loss and margin"
    named = ", ".join(f"{arm} at {_percent(ratio)}" for arm, ratio in both)
    return f"better than all rows by loss and margin: {named}"


def _outcome(line: pd.Series, sign: int) -> str:
    """Return "better", "worse" or, if no difference is shown, ""."""
    if not line["p_holm"] <= statistics.ALPHA:
        return ""
    return "worse" if sign * line["difference"] > 0 else "better"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:g} %"


def _interval(line: pd.Series) -> str:
    return f"{line['difference']:+.3g} [{line['low']:.3g}, {line['high']:.3g}]"


def _span(run: pd.DataFrame) -> str:
    return f"by {run['difference'].abs().min():.3g} to {run['difference'].abs().max():.3g}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _seeds(line: pd.Series) -> str:
    own, others = line["seeds"], line["against_seeds"]
    return f"{own} seeds" if own == others else f"{own} and {others} seeds"

"""What a sweep shows, in sentences."""

import pandas as pd

from ..evaluation import statistics
from .comparisons import (
    ALL,
    GROUP,
    MEASURES,
    RANDOM_ARMS,
    Measure,
    Pair,
    Rows,
    comparisons,
    difference_of,
    finished,
    pairs_of,
)


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
    several = len(finished(table)[GROUP].drop_duplicates()) > 1
    for (model, rate), part in compared.groupby(GROUP, sort=False):
        prefix = f"{model}, learning rate {rate:g}: " if several else ""
        cells = finished(table)
        cells = cells[(cells["model"] == model) & (cells["learning_rate"] == rate)]
        own = [*_against_reference(part, cells, rows), *_against_random(part), _best(part)]
        sentences += [prefix + sentence for sentence in own]
    return sentences


def _progress(table: pd.DataFrame) -> list[str]:
    n, done = table["key"].nunique(), finished(table)["key"].nunique()
    return [] if n == done else [f"{done} of {n} cells are finished; what follows can still change"]


def _nothing(table: pd.DataFrame) -> str:
    if finished(table).empty:
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
        pairs = {(pair.arm, pair.ratio, pair.against): pair for pair in pairs_of(cells, measure.name)}
        own = compared[(compared["measure"] == measure.name) & ~compared["against"].isin(RANDOM_ARMS)]
        for arm, part in own.groupby("arm", sort=False):
            part = part.sort_values("ratio")
            outcome = part.apply(_outcome, axis=1, sign=measure.sign)
            for _, run in part.groupby((outcome != outcome.shift()).cumsum(), sort=False):
                members = [pairs[arm, ratio, against] for ratio, against in run[["ratio", "against"]].values]
                sentences.append(_of_ratios(run, outcome[run.index[0]], measure, cells, rows, members))
    return sentences


def _of_ratios(run: pd.DataFrame, outcome: str, measure: Measure, cells, rows, pairs: list[Pair]) -> str:
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
    bounds = [difference_of(cells, rows, pair, confidence=confidence) for pair in pairs]
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

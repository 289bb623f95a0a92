"""Verdicts on planted data: how often they are wrong without a difference, and find one that is there."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from workbench.evaluation import statistics
from workbench.evidence import comparisons, verdict
from workbench.evidence.comparisons import ALL

RATIOS, ARMS = (0.1, 0.2, 0.4), ("ifd-cluster", "random", "random-tokens")
N_ROWS = 60
# Standard deviations, in nats: of rows, of runs (seed), of an arm's own effect on a row, of what is left.
ROW, RUN, OWN, REST = 0.5, 0.01, 0.05, 0.05


def simulated(rng: np.random.Generator, seeds: int = 3, shifts: dict | None = None, margin: bool = False):
    """A sweep's table and the losses by row; `shifts` maps (arm, ratio) to a true difference."""
    groups = [(ALL, 1.0), *((arm, ratio) for ratio in RATIOS for arm in ARMS)]
    lines, rows = [], {}
    weights, base = rng.integers(20, 200, N_ROWS).astype(float), rng.normal(1, ROW, N_ROWS)
    for arm, ratio in groups:
        own = rng.normal(0, OWN, N_ROWS)
        for seed in range(seeds):
            shift = rng.normal((shifts or {}).get((arm, ratio), 0), RUN)
            values = base + own + shift + rng.normal(0, REST, N_ROWS)
            key = f"{arm} {ratio} {seed}"
            rows[key] = {"loss": (values, weights), "margin": (-values, weights)}
            loss = float(np.average(values, weights=weights))
            cell = {"arm": arm, "ratio": ratio, "seed": seed, "key": key, "loss": loss, "status": "done"}
            lines.append(cell | {"model": "toy", "learning_rate": 1e-4, "margin": -loss if margin else None})
    return pd.DataFrame(lines), rows


def calls(compared: pd.DataFrame) -> int:
    return int((compared["p_holm"] <= statistics.ALPHA).sum())


def test_difference_of_runs_is_welchs_test_where_rows_do_not_differ():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 4), rng.normal(1, 3, 6)
    by_row = [np.repeat(values[:, None], 5, axis=1) for values in (first, second)]
    expected = stats.ttest_ind(second, first, equal_var=False)
    for pair in (by_row, [values[:, None] for values in (first, second)]):
        result = statistics.difference_of_runs(*pair)
        assert result.p_value == pytest.approx(expected.pvalue, rel=1e-6)
        low, high = expected.confidence_interval()
        assert (result.low, result.high) == pytest.approx((low, high), rel=1e-6)


def test_difference_of_runs_is_a_paired_test_of_rows_where_runs_do_not_differ():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 30), rng.normal(0.3, 1, 30)
    result = statistics.difference_of_runs(np.tile(first, (3, 1)), np.tile(second, (3, 1)))
    expected = stats.ttest_rel(second, first)
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    assert result.detectable == pytest.approx(
        statistics.detectable_mean(30, (second - first).std(ddof=1), paired=True), rel=1e-3
    )


def test_difference_of_runs_needs_two_runs_and_takes_equal_ones():
    with pytest.raises(ValueError, match="needs at least 2"):
        statistics.difference_of_runs(np.ones((1, 4)), np.ones((3, 4)))
    equal = statistics.difference_of_runs(np.ones((2, 4)), np.ones((3, 4)))
    assert (equal.value, equal.low, equal.high, equal.p_value, equal.detectable) == (0, 0, 0, 1, 0)


def test_mean_of_runs_has_the_t_interval():
    values = [1.0, 1.2, 1.1, 1.5]
    mean = statistics.mean_of_runs(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (mean.low, mean.high) == pytest.approx(tuple(expected), rel=1e-6)
    assert np.isnan(statistics.mean_of_runs([1.0]).low)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_sweeps_without_a_difference_call_one_in_at_most_5_percent(seeds):
    rng = np.random.default_rng(seeds)
    wrong = [calls(comparisons(*simulated(rng, seeds))) > 0 for _ in range(400)]
    print(f"{seeds} seeds: {np.mean(wrong):.2%} of 400 sweeps call a difference")
    assert np.mean(wrong) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_sweeps_find_a_difference_of_twice_the_minimum_detectable(seeds):
    rng = np.random.default_rng(seeds)
    detectable = np.mean([first_of(comparisons(*simulated(rng, seeds)))["detectable"] for _ in range(100)])
    planted = {("ifd-cluster", 0.1): 2 * detectable}
    lines = [first_of(comparisons(*simulated(rng, seeds, planted))) for _ in range(400)]
    found = [line["p_holm"] <= statistics.ALPHA and line["difference"] > 0 for line in lines]
    print(
        f"{seeds} seeds: a difference of {2 * detectable:.3f} is found in {np.mean(found):.1%} of 400 sweeps"
    )
    assert np.mean(found) >= 0.95


def first_of(compared: pd.DataFrame) -> pd.Series:
    """The comparison of ifd-cluster at 10 % with all rows."""
    chosen = (compared["arm"] == "ifd-cluster") & (compared["ratio"] == 0.1) & (compared["against"] == ALL)
    return compared[chosen].iloc[0]


def test_sentences_of_a_sweep_where_a_tenth_of_the_rows_is_too_few():
    rng = np.random.default_rng(1)
    sentences = verdict(*simulated(rng, 5, {("ifd-cluster", 0.1): 0.2, ("random", 0.1): 0.2}))
    number = r"[-+]?[\d.e-]+"
    patterns = [
        rf"ifd-cluster, at 10 %: worse than all rows, {number} \[{number}, {number}\] nats per token, p .*",
        rf"ifd-cluster, between 20 % and 40 %: no difference from all rows shown \(at most {number} nats per "
        rf"token, 95 %\); this design could have shown {number}",
        rf"ifd-cluster against random at 40 %: {number} \[{number}, {number}\] nats per token, 5 seeds: no "
        rf"difference shown; this design could have shown {number}",
        r"no best ratio is named: loss alone was measured; .*",
    ]
    for pattern in patterns:
        assert [s for s in sentences if re.fullmatch(pattern, s)], (pattern, sentences)


def test_a_ratio_is_named_only_by_loss_and_margin_together():
    better = {("ifd-cluster", 0.4): -0.5}
    rng = np.random.default_rng(2)
    assert "better than all rows by loss and margin: ifd-cluster at 40 %" in verdict(
        *simulated(rng, 4, better, margin=True)
    )
    table, rows = simulated(rng, 4, better, margin=True)
    for key, measures in rows.items():
        measures["margin"] = rows[f"{ALL} 1.0 {key[-1]}"]["margin"]
    assert "no best ratio is named: none is better than all rows by loss and margin" in verdict(table, rows)
    assert not [s for s in verdict(*simulated(rng, 4, better)) if s.startswith("better than")]


def test_one_seed_and_unfinished_cells_prove_nothing():
    rng = np.random.default_rng(3)
    table, rows = simulated(rng, 1, {("ifd-cluster", 0.4): -5.0}, margin=True)
    (sentence,) = verdict(table, rows)
    assert "no best ratio is named" in sentence
    table, rows = simulated(rng, 3)
    table.loc[5:, "status"] = "waiting"
    assert verdict(table, rows)[0] == "5 of 30 cells are finished; what follows can still change"
    table["status"] = "waiting"
    assert verdict(table, rows)[1] == "no cell is finished: nothing can be said yet"


def test_without_all_rows_the_largest_ratio_is_the_reference():
    table, rows = simulated(np.random.default_rng(4), 3)
    table = table[table["arm"] != ALL]
    compared = comparisons(table, rows)
    own = compared[compared["against"] == "ifd-cluster"]
    assert own["ratio"].tolist() == [0.1, 0.2]
    assert set(own["against_ratio"]) == {0.4}
    assert any("no difference from 40 % shown" in sentence for sentence in verdict(table, rows))


def test_models_and_learning_rates_are_compared_within_themselves():
    table, rows = simulated(np.random.default_rng(5), 3)
    other = table.assign(model="larger", learning_rate=1e-5, key="larger " + table["key"])
    rows = rows | {f"larger {key}": values for key, values in rows.items()}
    both = pd.concat([table, other])
    assert len(comparisons(both, rows)) == 2 * len(comparisons(table, rows))
    assert any(s.startswith("larger, learning rate 1e-05: ifd-cluster") for s in verdict(both, rows))


def test_a_sweep_of_random_rows_alone_compares_its_ratios():
    table, rows = simulated(np.random.default_rng(6), 3)
    table = table[table["arm"] != "ifd-cluster"]
    compared = comparisons(table, rows)
    assert set(compared["arm"]) == {"random", "random-tokens"}

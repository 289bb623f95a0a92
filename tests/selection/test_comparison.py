"""Comparing strategies: overlaps by hand, equal budgets, and the range of random draws."""

import numpy as np
import pytest
from test_strategies import random_table

import workbench as wb
from workbench import figures
from workbench.core.errors import UserError
from workbench.selection import STRATEGIES, Candidates, Comparison, Selection, select


@pytest.fixture(scope="module")
def ds():
    return random_table(300)


def by_hand(ds, **rows) -> Comparison:
    """A comparison of selections that keep exactly these rows."""
    candidates = Candidates(ds)
    selections = {name: Selection(ds, np.array(kept), candidates, {}) for name, kept in rows.items()}
    return Comparison(selections, [selection.numbers for selection in selections.values()])


def test_overlaps_by_hand(ds):
    comparison = by_hand(ds, a=[0, 1, 2], b=[2, 3], c=[7])
    assert comparison.overlap.loc["a"].tolist() == [1, 1 / 4, 0]
    assert comparison.shared.loc["a"].tolist() == [1, 1 / 3, 0]
    assert comparison.shared.loc["b", "a"] == 1 / 2
    assert comparison.only("a").to_dict() == ds.select([0, 1]).to_dict()
    assert comparison.only("b").to_dict() == ds.select([3]).to_dict()


def test_metrics_by_hand(ds):
    comparison = by_hand(ds, a=[0, 1, 2], b=[2, 3, 4, 5, 6], c=[7])
    assert comparison.metrics.loc["n_kept"].tolist() == pytest.approx([3, 5, 1, 1.2, 3, 4.8])


def test_the_first_strategy_sets_the_number_of_rows(ds):
    names = [name for name in STRATEGIES if name not in ("deita", "random-tokens")]
    comparison = wb.compare(ds, names, ratio=0.3, draws=3)
    size = len(select(ds, 0.3).indices)
    assert comparison.metrics.loc["n_kept"].tolist() == [size] * (len(names) + 3)
    assert comparison.metrics.loc["mean_ifd", "ifd-top"] == comparison.metrics.loc["mean_ifd"].max()


def test_a_token_budget_holds_for_every_strategy(ds):
    comparison = wb.compare(ds, ["ifd-cluster", "random-tokens", "k-center"], tokens=2000, draws=2)
    assert (comparison.metrics.loc["tokens_kept"].iloc[:3] > 1900).all()
    assert (comparison.metrics.loc["tokens_kept"].iloc[:3] <= 2000).all()


def test_a_random_selection_lies_within_the_random_draws(ds):
    metrics = wb.compare(ds, ["random", "ifd-top"], rows=90, seed=100).metrics
    inside = metrics["random"].between(metrics["random 5 %"], metrics["random 95 %"])
    assert inside.mean() > 0.6  # 90 % of many
    assert metrics.loc["mean_ifd", "ifd-top"] > metrics.loc["mean_ifd", "random 95 %"]


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        ("random", "strategies='random' must be a list of two or more different names"),
        (["random", "random"], "must be a list of two or more different names"),
        (["random", "best"], "strategy='best' is not known"),
    ],
)
def test_wrong_strategy_names_are_errors(ds, strategies, message):
    with pytest.raises(UserError, match=message):
        wb.compare(ds, strategies)


def test_an_empty_selection_and_an_unknown_name_are_errors(ds):
    with pytest.raises(UserError, match="strategy='ifd-top' keeps none of the 300 rows within this budget"):
        wb.compare(ds, ["ifd-top", "random"], ratio=0.001)
    with pytest.raises(UserError, match="name='ifd-cluster' is not known; choose one of a, b"):
        by_hand(ds, a=[0], b=[1]).only("ifd-cluster")


def test_the_figures_show_the_comparison(ds):
    comparison = wb.compare(ds, ["ifd-cluster", "ifd-top"], ratio=0.3, draws=4)
    drawn = figures.comparison(comparison.metrics)
    titles = [title.text for title in drawn.layout.annotations]
    assert {"mmd", "mean ifd", "tokens kept"} <= set(titles)
    assert "n kept" not in titles  # equal for all strategies, so not drawn
    at = titles.index("mmd")
    chance, points = drawn.data[2 * at : 2 * at + 2]
    assert list(points.x) == comparison.metrics.loc["mmd", ["ifd-cluster", "ifd-top"]].tolist()
    low, high = comparison.metrics.loc["mmd", ["random 5 %", "random 95 %"]]
    assert (chance.base, chance.base + chance.x[0]) == pytest.approx((low, high))
    shared = figures.overlap(comparison.overlap)
    np.testing.assert_array_equal(shared.data[0].z, comparison.overlap)


def test_more_draws_than_any_range_needs_are_refused(ds):
    with pytest.raises(UserError, match="draws=2147483648 must be a whole number of at most 1,000"):
        wb.compare(ds, ["ifd-top", "random"], ratio=0.3, draws=2**31)

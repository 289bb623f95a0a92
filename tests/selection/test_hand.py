"""Rows kept and dropped by hand, and the filter: in the selection, its reasons and its budget."""

import datasets
import numpy as np
import pytest

import workbench as wb
from workbench.core.errors import UserError
from workbench.exports.cards import dataset_card
from workbench.exports.code import as_code, as_recipe
from workbench.study.recipe import Recipe

N = 40


@pytest.fixture(scope="module")
def ds():
    rng = np.random.default_rng(0)
    columns = {
        "id": [f"r{i}" for i in range(N)],
        "instruction": ["do"] * N,
        "response": ["done"] * N,
        "ifd": rng.permutation(np.linspace(0.1, 0.95, N)).tolist(),
        "n_tokens": [10] * N,
        "cluster": (np.arange(N) % 2).tolist(),
        "topic": ["dates" if i % 4 == 0 else "json" for i in range(N)],
    }
    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize("strategy", ["ifd-cluster", "ifd-quota", "ifd-top", "random", "longest"])
@pytest.mark.parametrize("budget", [{"ratio": 0.5}, {"rows": 20}, {"tokens": 200}])
def test_pinned_rows_are_kept_and_the_budget_counts_them(ds, strategy, budget):
    plain = wb.select(ds, strategy=strategy, **budget)
    keep, drop = ("r0", "r1", "r2"), ("r3", "r5")
    selection = wb.select(ds, strategy=strategy, keep=keep, drop=drop, **budget)
    assert {0, 1, 2} <= set(selection.indices.tolist())
    assert not {3, 5} & set(selection.indices.tolist())
    assert len(plain.indices) - 2 <= len(selection.indices) <= len(plain.indices)
    if "rows" in budget or "tokens" in budget:
        assert len(selection.indices) == 20
    assert selection.dropped[3] == "dropped by hand"
    explored = wb.Explorer(ds, strategy, keep=keep, drop=drop).at(**budget)
    np.testing.assert_array_equal(explored.indices, selection.indices)


def test_where_restricts_the_rows_that_the_strategy_selects_from(ds):
    selection = wb.select(ds, 0.5, "ifd-top", where={"topic": "dates"}, keep=["r1"])
    kept = selection.indices.tolist()
    assert 1 in kept
    assert all(ds["topic"][row] == "dates" for row in kept if row != 1)
    assert len(kept) == 5  # of 10 rows on dates and the pinned one
    assert selection.dropped[2] == "left out by hand: not where topic is 'dates'"
    both = wb.select(ds, 1.0, "random", where={"topic": ["dates", "json"], "cluster": 1})
    assert [ds["cluster"][row] for row in both.indices.tolist()] == [1] * 20


def test_a_ratio_below_the_pinned_rows_keeps_them_alone(ds):
    assert wb.select(ds, 0.01, keep=["r7", "r9"]).indices.tolist() == [7, 9]


def test_without_anything_by_hand_the_selection_is_the_same(ds):
    plain, empty = wb.select(ds, 0.4), wb.select(ds, 0.4, keep=[], drop=(), where={})
    np.testing.assert_array_equal(plain.indices, empty.indices)
    assert plain.settings == empty.settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": ["r1"], "drop": ["r1"]}, r"id 'r1' is in both keep and drop; take it out"),
        ({"keep": ["x9"]}, r"keep: 'x9' is no id of the dataset; use the column `id`, e.g. 'r0'"),
        ({"drop": "r1"}, r"drop='r1' must be a list of ids"),
        ({"rows": 1, "keep": ["r1", "r2"]}, r"rows=1 is less than the 2 rows of keep alone; raise"),
        ({"tokens": 15, "keep": ["r1", "r2"]}, r"tokens=15 is less than the 20 tokens of keep alone"),
        (
            {"where": {"subject": "a"}},
            r"where: 'subject' is not a column of the dataset; the columns are id,",
        ),
        ({"where": {"topic": "sets"}}, r"where: no row has topic is 'sets'; take a condition away"),
        ({"where": "topic"}, r"where='topic' must map columns to values"),
    ],
)
def test_what_does_not_fit_is_one_sentence(ds, arguments, message):
    with pytest.raises(UserError, match=message):
        wb.select(ds, **arguments)


def test_the_cut_is_that_of_the_strategy(ds):
    selection = wb.select(ds, 0.5, "ifd-top", drop=[ds["id"][int(np.argmax(ds["ifd"]))]])
    assert wb.selection.ifd_cut(selection) is not None


def test_code_recipe_and_card_hold_what_is_done_by_hand(ds, tmp_path):
    by_hand = {"keep": ["r0", "r1"], "drop": ["r3"], "where": {"topic": ["dates"]}}
    selection = wb.select(ds, 0.5, "ifd-top", **by_hand)
    table = tmp_path / "rows.parquet"
    code = as_code(selection, table=table)
    assert "keep=['r0', 'r1'], drop=['r3'], where={'topic': ['dates']}" in code
    recipe = as_recipe(selection, table=table)
    recipe.to_yaml(tmp_path / "recipe.yaml")
    again = Recipe.from_yaml(tmp_path / "recipe.yaml")
    np.testing.assert_array_equal(again.select(ds).indices, selection.indices)
    card = dataset_card(selection.dataset, selection, "parquet", "rows.parquet", None)
    assert "dropped by hand" in card

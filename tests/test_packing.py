"""Lengths -> rows and batches: by hand where small, by properties where random."""

import re

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import UserError
from workbench.packing import STRATEGIES, PackPlan, pack

WORKED = [4, 3, 5, 8, 6, 2]  # the example of arXiv 2504.12687, section 4, at max_length 10

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=80)
settings = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 20),
        "seed": st.none() | st.integers(0, 99),
        "max_length": st.integers(60, 90),
    }
)


def as_lengths(plan: PackPlan) -> list[list[list[int]]]:
    """The plan with each position replaced by its length."""
    return [[[int(plan.lengths[i]) for i in row] for row in batch] for batch in plan.batches]


def test_the_papers_worked_example():
    plan = pack(WORKED, max_length=10, strategy="dynamic", batch_size=6)
    assert as_lengths(plan) == [[[2, 3, 4], [5], [6], [8]]]
    assert (plan.n_rows, plan.n_tokens, plan.n_computed) == (4, 28, 4 * 9)
    assert plan.padding_rate == pytest.approx(8 / 36)


@pytest.mark.parametrize(
    ("strategy", "batches", "computed"),
    [
        ("max", [[[4], [3], [5]], [[8], [6], [2]]], 6 * 10),
        ("pad", [[[4], [3], [5]], [[8], [6], [2]]], 3 * 5 + 3 * 8),
        ("dynamic", [[[3, 4], [5]], [[2, 6], [8]]], 2 * 7 + 2 * 8),
        # 8, 6 and 5 open rows; 4 fills up the 6, 3 goes to the 5, 2 fills up both 8 and 5 + 3: the later one
        ("bfd", [[[8], [6, 4]], [[5, 3, 2]]], 2 * 10 + 10),
    ],
)
def test_each_strategy_by_hand_in_batches_of_three(strategy, batches, computed):
    plan = pack(WORKED, max_length=10, strategy=strategy, batch_size=3, seed=None)
    assert as_lengths(plan) == batches
    assert plan.n_computed == computed
    assert plan.padding_rate == pytest.approx(1 - 28 / computed)


def test_rows_are_those_of_all_batches_in_order():
    plan = pack(WORKED, max_length=10, strategy="dynamic", batch_size=3, seed=None)
    assert plan.rows == [[1, 0], [2], [5, 4], [3]]
    assert plan.n_rows == 4


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        ([10, 10], [[10], [10]]),  # exactly full rows
        ([5, 5], [[5, 5]]),
        ([5, 6], [[6], [5]]),  # one token too many
        ([7, 3, 6, 4], [[7, 3], [6, 4]]),
        ([7, 6, 3], [[7, 3], [6]]),  # the fullest row that still takes it
    ],
)
def test_best_fit_by_hand(sizes, rows):
    assert as_lengths(pack(sizes, max_length=10, strategy="bfd", batch_size=99, seed=None)) == [rows]


@pytest.mark.parametrize("strategy", ["dynamic", "bfd"])
def test_a_row_may_be_exactly_full(strategy):
    assert as_lengths(pack([5, 5, 10], max_length=10, strategy=strategy, seed=None, batch_size=3)) in (
        [[[5, 5], [10]]],
        [[[10], [5, 5]]],
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(lengths=lengths, settings=settings)
def test_every_sample_is_in_one_row_and_no_row_is_too_long(strategy, lengths, settings):
    plan = pack(lengths, strategy=strategy, **settings)
    assert sorted(i for row in plan.rows for i in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[i] for i in row) <= settings["max_length"] for row in plan.rows)
    assert plan.n_tokens == sum(lengths) <= plan.n_computed
    assert 0 <= plan.padding_rate < 1
    assert plan.n_rows == len(plan.rows)


@given(lengths=lengths, settings=settings)
def test_best_fit_needs_no_more_rows_than_the_papers_pack(lengths, settings):
    assert (
        pack(lengths, strategy="bfd", **settings).n_rows
        <= pack(lengths, strategy="dynamic", **settings).n_rows
    )


@given(lengths=lengths, settings=settings)
def test_packing_within_batches_keeps_their_samples_together(lengths, settings):
    """Each step sees the samples that it would see unpacked, so the loss is the same."""

    def samples(strategy):
        batches = pack(lengths, strategy=strategy, **settings).batches
        return [sorted(i for row in batch for i in row) for batch in batches]

    assert samples("dynamic") == samples("pad") == samples("max")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_seed_decides_the_order(strategy):
    sizes = list(range(1, 61))
    first = pack(sizes, max_length=60, strategy=strategy, batch_size=4, seed=1).batches
    assert pack(sizes, max_length=60, strategy=strategy, batch_size=4, seed=1).batches == first
    assert pack(sizes, max_length=60, strategy=strategy, batch_size=4, seed=2).batches != first


def test_long_samples_count_as_cut_and_the_input_stays_as_it_is():
    sizes = np.array([30, 5])
    plan = pack(sizes, max_length=10, strategy="pad", seed=None)
    assert (plan.lengths.tolist(), plan.n_truncated, plan.n_tokens) == ([10, 5], 1, 15)
    assert sizes.tolist() == [30, 5]


def test_a_table_is_packed_by_its_training_lengths():
    ds = datasets.Dataset.from_dict({"n_tokens": WORKED})
    assert pack(ds, max_length=10, batch_size=6).rows == pack(WORKED, max_length=10, batch_size=6).rows
    with pytest.raises(UserError, match=r"column 'n_tokens' is missing.*make it with wb.score first"):
        pack(ds.rename_column("n_tokens", "tokens"))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("source", [[], datasets.Dataset.from_dict({"n_tokens": []})])
def test_nothing_packs_to_nothing(strategy, source):
    plan = pack(source, strategy=strategy)
    assert (plan.rows, plan.n_tokens, plan.padding_rate) == ([], 0, 0.0)


@pytest.mark.parametrize(
    ("source", "named", "message"),
    [
        (
            [30, 20, 40],
            {"max_length": 10},
            "max_length=10 is shorter than every sample (the shortest has 20 tokens)",
        ),
        ([4, 0, 5], {}, "lengths[1]=0; a sample has at least one token"),
        ([4, -2], {}, "lengths[1]=-2; a sample has at least one token"),
        ([4.0, 2.5], {}, "lengths must be a flat list of whole numbers, not list of float64"),
        ([[4, 2]], {}, "lengths must be a flat list of whole numbers"),
        (["4"], {}, "lengths must be a flat list of whole numbers"),
        (WORKED, {"max_length": 0}, "max_length=0 must be a whole number of at least 1"),
        (WORKED, {"batch_size": 2.5}, "batch_size=2.5 must be a whole number of at least 1"),
        (WORKED, {"strategy": "ffd"}, "strategy='ffd' is not known; choose one of bfd, dynamic, max, pad"),
    ],
)
def test_a_wrong_input_is_named(source, named, message):
    with pytest.raises(UserError, match=re.escape(message)):
        pack(source, **named)


@pytest.mark.parametrize(
    ("median", "sigma", "strategy", "percent"),
    [
        (450, 0.2716, "pad", 36.6),  # like OSS-Instruct; the paper reports 36.54 and 15.24
        (450, 0.2716, "dynamic", 15.0),
        (500, 0.4975, "pad", 54.4),  # like Evol-Instruct; the paper reports 54.41 and 17.23
        (500, 0.4975, "dynamic", 16.9),
    ],
)
def test_the_papers_padding_rates(median, sigma, strategy, percent):
    drawn = np.random.default_rng(0).lognormal(np.log(median), sigma, 20_000)
    sizes = np.clip(drawn, 16, 2048).astype(int)
    assert 100 * pack(sizes, max_length=2048, strategy=strategy, batch_size=16).padding_rate == pytest.approx(
        percent, abs=0.5
    )

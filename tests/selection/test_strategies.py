"""Strategies beyond the paper's: small tables worked by hand, then what holds for any table."""

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core import tables
from workbench.selection import STRATEGIES, Explorer, select
from workbench.selection.by_score import largest_remainder

COLUMNS = {
    "n_tokens": tables.INT,
    "cluster": tables.INT,
    "ifd": tables.FLOAT,
    "ppl_conditioned": tables.FLOAT,
}


def table(vectors, **columns) -> datasets.Dataset:
    """Rows of these vectors, made unit; any of `COLUMNS`, or the same for all rows."""
    vectors = np.asarray(vectors, np.float32)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    n = len(vectors)
    values = {
        "n_tokens": [10] * n,
        "cluster": [0] * n,
        "ifd": [0.5] * n,
        "ppl_conditioned": [2.0] * n,
    } | columns
    features = datasets.Features(COLUMNS | {"embedding": tables.vector(vectors.shape[1])})
    return datasets.Dataset.from_dict(values | {"embedding": vectors}, features=features)


def random_table(n: int, seed: int = 0, d: int = 4) -> datasets.Dataset:
    rng = np.random.default_rng(seed)
    ifd = rng.normal(0.85, 0.15, n).round(2)  # with ties
    return table(
        rng.standard_normal((n, d)),
        n_tokens=rng.integers(1, 100, n),
        cluster=rng.integers(0, 4, n),
        ifd=[None if value < 0.6 else value for value in ifd],
        ppl_conditioned=rng.uniform(1, 9, n),
    )


def angles(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_k_center_goes_to_the_farthest_row():
    ds = table(angles(0, 10, 90, 184))
    for seed in range(8):
        first, *_ = order = STRATEGIES["k-center"].rank(candidates(ds), 3, np.random.default_rng(seed))
        assert order.tolist() == {0: [0, 3, 2], 1: [1, 3, 2], 2: [2, 3, 0], 3: [3, 0, 2]}[first]


def candidates(ds):
    return select(ds, 1.0, "random").candidates


def test_facility_location_is_greedy_where_the_draw_holds_every_row():
    vectors = np.array(random_table(12, seed=2)["embedding"][:])
    similar, best, expected = vectors @ vectors.T, np.full(12, -1.0), []
    for _ in range(2):  # a draw of ceil(12 / 2 * ln(10)) = 14 is all rows
        gains = np.maximum(similar - best, 0).sum(axis=1)
        expected.append(int(np.argmax(gains)))
        best = np.maximum(best, similar[expected[-1]])
    rank = STRATEGIES["facility-location"].rank
    assert rank(candidates(random_table(12, seed=2)), 2, np.random.default_rng(0)).tolist() == expected


def test_facility_location_goes_to_every_bunch():
    bunches = np.repeat(np.eye(5), 8, axis=0) + 0.05 * np.random.default_rng(0).standard_normal((40, 5))
    found = select(table(bunches), rows=10, strategy="facility-location").indices
    assert np.bincount(found // 8, minlength=5).min() >= 1


def test_parametric_takes_rows_of_every_bunch():
    degrees = [base + step for base in (0, 72, 144, 216, 288) for step in range(8)]
    ds = table(angles(*degrees))
    found = select(ds, rows=20, strategy="parametric").indices
    assert np.bincount(found // 8, minlength=5).min() >= 2


def test_deita_skips_what_repeats_a_harder_row():
    ds = table(angles(0, 5, 90, 93, 180), ifd=[0.8, 0.9, 0.7, 0.6, 1.1])
    assert select(ds, rows=3, strategy="deita").indices.tolist() == [1, 2]
    assert select(ds, rows=1, strategy="deita").indices.tolist() == [1]
    assert select(ds, 0.25, "deita").indices.tolist() == [1]  # int(4 eligible * 0.25)
    assert "too near a harder kept one" in select(ds, 1.0, "deita").dropped[0]
    assert select(ds, 1.0, "deita").dropped[4] == "IFD 1.1000 is not below max_ifd 1"


def test_ppl_top_ranks_eligible_rows_by_perplexity():
    ds = table(np.eye(4), ppl_conditioned=[3.0, 9.0, 5.0, 7.0], ifd=[0.5, 1.2, 0.5, 0.5])
    assert select(ds, rows=2, strategy="ppl-top").indices.tolist() == [2, 3]


def test_tokens_end_before_the_row_that_would_pass_them():
    ds = table(np.eye(4), ifd=[0.9, 0.8, 0.7, 0.6], n_tokens=[10, 20, 30, 5])
    assert select(ds, tokens=30, strategy="ifd-top").indices.tolist() == [0, 1]
    assert select(ds, tokens=59, strategy="ifd-top").indices.tolist() == [0, 1]  # row 3 comes after row 2
    assert select(ds, tokens=9, strategy="ifd-top").indices.tolist() == []
    assert select(ds, tokens=65, strategy="ifd-top").indices.tolist() == [0, 1, 2, 3]


def test_tokens_with_clusters_come_as_a_growing_ratio_lets_rows_in():
    # Entry: cluster 0 at 1/3, 2/3, 1; cluster 1 at 1/2, 1.
    ds = table(np.eye(5), ifd=[0.9, 0.8, 0.7, 0.9, 0.8], cluster=[0, 0, 0, 1, 1], n_tokens=[1, 2, 4, 8, 16])
    for tokens, kept in ((1, [0]), (9, [0, 3]), (11, [0, 1, 3]), (15, [0, 1, 2, 3]), (31, [0, 1, 2, 3, 4])):
        assert select(ds, tokens=tokens).indices.tolist() == kept


def test_random_tokens_costs_what_the_papers_rule_costs():
    ds = random_table(400)
    tokens = np.array(ds["n_tokens"][:])
    paper = tokens[select(ds, 0.4).indices].sum()
    for seed in range(5):
        random = tokens[select(ds, 0.4, "random-tokens", seed=seed).indices].sum()
        assert paper - 100 < random <= paper
    assert tokens[select(ds, tokens=500, strategy="random-tokens").indices].sum() <= 500


@pytest.mark.parametrize(
    ("weights", "n", "least", "most", "seats"),
    [
        # Hamilton's rule: quotas 4.16, 2.5, 1.66, 1.66 (of 10 seats)
        ([50, 30, 20, 20], 10, 0, 99, [4, 2, 2, 2]),
        ([1, 1], 3, 0, 99, [2, 1]),  # a tie goes to the first
        ([98, 1, 1], 10, 1, 99, [8, 1, 1]),  # small ones survive
        ([50, 50], 10, 0, [2, 99], [2, 8]),  # what one cannot fill goes to the other
        ([3, 1], 0, 0, 9, [0, 0]),
        ([3, 1], 10, 0, 5, [5, 5]),
    ],
)
def test_seats_by_hand(weights, n, least, most, seats):
    weights = np.array(weights)
    bounds = [np.broadcast_to(bound, weights.shape).copy() for bound in (least, most)]
    assert largest_remainder(weights, n, *bounds).tolist() == seats


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=60), st.floats(0.01, 1))
def test_quota_keeps_exactly_the_asked_share_of_all_rows(rows, ratio):
    cluster, scored = map(list, zip(*rows, strict=True))
    ds = table(np.ones((len(rows), 1)), cluster=cluster, ifd=[0.5 if has else None for has in scored])
    found = select(ds, ratio, "ifd-quota").report
    assert found.n_kept == min(round(ratio * len(rows)), sum(scored))
    clusters = found.clusters
    assert (clusters["kept"] <= clusters["eligible"]).all()
    if found.n_kept >= (clusters["eligible"] > 0).sum():
        assert (clusters["kept"] >= np.minimum(clusters["eligible"], 1)).all()
    if clusters["eligible"].equals(clusters["rows"]):
        exact = ratio * clusters["rows"]
        assert (np.abs(clusters["kept"] - exact) <= len(clusters)).all()


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
class TestEveryStrategy:
    @pytest.mark.parametrize("budget", [{"ratio": 0.3}, {"rows": 40}, {"tokens": 700}, {"ratio": 1.0}])
    def test_keeps_each_row_once_within_the_budget(self, strategy, budget):
        ds = random_table(150)
        found = select(ds, strategy=strategy, **budget)
        assert found.indices.dtype == np.int64
        assert (np.diff(found.indices) > 0).all()
        assert 0 < len(found.indices) <= len(ds)
        # deita may run out of what is new; random-tokens counts tokens.
        if "rows" in budget and strategy not in ("deita", "random-tokens"):
            assert len(found.indices) == 40
        if "tokens" in budget:
            assert found.coverage.tokens_kept <= 700
        assert sorted([*found.indices.tolist(), *found.dropped]) == list(range(len(ds)))

    def test_is_the_same_under_a_seed(self, strategy):
        ds = random_table(120)
        first = select(ds, 0.3, strategy, seed=5).indices
        np.testing.assert_array_equal(first, select(ds, 0.3, strategy, seed=5).indices)

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_few_rows(self, strategy, n):
        ds = random_table(10).select(range(n))
        assert len(select(ds, 1.0, strategy).indices) <= n

    def test_nothing_scored(self, strategy):
        ds = table(np.eye(3), ifd=[None] * 3)
        kept = len(select(ds, 1.0, strategy).indices)
        # random-tokens has the tokens of nothing, too.
        pool = STRATEGIES[strategy].pool
        assert kept == (0 if pool == "eligible" or strategy == "random-tokens" else 3)

    def test_rows_that_are_all_alike(self, strategy):
        ds = table(np.ones((30, 3)))
        kept = len(select(ds, rows=12, strategy=strategy).indices)
        assert kept == (1 if strategy == "deita" else 12)

    @pytest.mark.parametrize("budget", [{"ratio": 0.29}, {"ratio": 1.0}, {"rows": 33}, {"tokens": 900}])
    def test_the_explorer_gives_the_numbers_of_select(self, strategy, budget):
        ds = random_table(200)
        fast, plain = (
            Explorer(ds, strategy, seed=3).at(**budget),
            select(ds, strategy=strategy, seed=3, **budget),
        )
        np.testing.assert_array_equal(fast.indices, plain.indices)
        assert fast.settings == plain.settings
        for name, value in plain.coverage.numbers.items():
            assert fast.coverage.numbers[name] == pytest.approx(value, abs=1e-6), name
        assert fast.report.clusters.equals(plain.report.clusters)
        assert fast.report.mean_ifd_kept == plain.report.mean_ifd_kept

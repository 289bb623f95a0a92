"""Each strategy on small tables worked by hand, then properties that hold for all of them."""

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core import tables
from workbench.selection import STRATEGIES, Explorer, select
from workbench.selection.ranking import largest_remainder

COLUMNS = {
    "n_tokens": tables.INT,
    "cluster": tables.INT,
    "ifd": tables.FLOAT,
    "ppl_conditioned": tables.FLOAT,
}


def table(vectors, **columns) -> datasets.Dataset:
    """A table with these vectors, scaled to unit length; a column that is not given is constant."""
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
    ifd = rng.normal(0.85, 0.15, n).round(2)  # rounding makes ties
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


def test_facility_location_is_exact_greedy_if_every_row_is_drawn():
    vectors = np.array(random_table(12, seed=2)["embedding"][:])
    similarity, best, expected = vectors @ vectors.T, np.full(12, -1.0), []
    for _ in range(2):  # ceil(12 / 2 * ln(10)) = 14 draws cover all rows
        gains = np.maximum(similarity - best, 0).sum(axis=1)
        expected.append(int(np.argmax(gains)))
        best = np.maximum(best, similarity[expected[-1]])
    rank = STRATEGIES["facility-location"].rank
    assert rank(candidates(random_table(12, seed=2)), 2, np.random.default_rng(0)).tolist() == expected


def test_facility_location_covers_every_group():
    groups = np.repeat(np.eye(5), 8, axis=0) + 0.05 * np.random.default_rng(0).standard_normal((40, 5))
    indices = select(table(groups), rows=10, strategy="facility-location").indices
    assert np.bincount(indices // 8, minlength=5).min() >= 1


def test_parametric_keeps_rows_of_every_group():
    degrees = [base + step for base in (0, 72, 144, 216, 288) for step in range(8)]
    ds = table(angles(*degrees))
    indices = select(ds, rows=20, strategy="parametric").indices
    assert np.bincount(indices // 8, minlength=5).min() >= 2


def test_deita_skips_rows_similar_to_a_harder_one():
    ds = table(angles(0, 5, 90, 93, 180), ifd=[0.8, 0.9, 0.7, 0.6, 1.1])
    assert select(ds, rows=3, strategy="deita").indices.tolist() == [1, 2]
    assert select(ds, rows=1, strategy="deita").indices.tolist() == [1]
    assert select(ds, 0.25, "deita").indices.tolist() == [1]  # int(4 eligible * 0.25)
    assert "too similar to a harder kept one" in select(ds, 1.0, "deita").dropped[0]
    assert select(ds, 1.0, "deita").dropped[4] == "IFD 1.1000 is not below max_ifd 1"


def test_ppl_top_ranks_eligible_rows_by_perplexity():
    ds = table(np.eye(4), ppl_conditioned=[3.0, 9.0, 5.0, 7.0], ifd=[0.5, 1.2, 0.5, 0.5])
    assert select(ds, rows=2, strategy="ppl-top").indices.tolist() == [2, 3]


def test_a_token_budget_ends_before_the_first_row_that_exceeds_it():
    ds = table(np.eye(4), ifd=[0.9, 0.8, 0.7, 0.6], n_tokens=[10, 20, 30, 5])
    assert select(ds, tokens=30, strategy="ifd-top").indices.tolist() == [0, 1]
    assert select(ds, tokens=59, strategy="ifd-top").indices.tolist() == [0, 1]  # row 3 comes after row 2
    assert select(ds, tokens=9, strategy="ifd-top").indices.tolist() == []
    assert select(ds, tokens=65, strategy="ifd-top").indices.tolist() == [0, 1, 2, 3]


def test_with_clusters_a_token_budget_is_filled_as_the_ratio_grows():
    # Rows enter at ratios 1/3, 2/3 and 1 in cluster 0, at 1/2 and 1 in cluster 1.
    ds = table(np.eye(5), ifd=[0.9, 0.8, 0.7, 0.9, 0.8], cluster=[0, 0, 0, 1, 1], n_tokens=[1, 2, 4, 8, 16])
    for tokens, kept in ((1, [0]), (9, [0, 3]), (11, [0, 1, 3]), (15, [0, 1, 2, 3]), (31, [0, 1, 2, 3, 4])):
        assert select(ds, tokens=tokens).indices.tolist() == kept


def test_random_tokens_keeps_the_tokens_of_the_papers_rule():
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
        # quotas of 10 seats: 4.16, 2.5, 1.66, 1.66
        ([50, 30, 20, 20], 10, 0, 99, [4, 2, 2, 2]),
        ([1, 1], 3, 0, 99, [2, 1]),  # the first wins a tie
        ([98, 1, 1], 10, 1, 99, [8, 1, 1]),  # small groups survive
        ([50, 50], 10, 0, [2, 99], [2, 8]),  # a full group's rest goes to the other
        ([3, 1], 0, 0, 9, [0, 0]),
        ([3, 1], 10, 0, 5, [5, 5]),
    ],
)
def test_largest_remainder_by_hand(weights, n, least, most, seats):
    weights = np.array(weights)
    bounds = [np.broadcast_to(bound, weights.shape).copy() for bound in (least, most)]
    assert largest_remainder(weights, n, *bounds).tolist() == seats


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=60), st.floats(0.01, 1))
def test_quota_keeps_exactly_its_share_of_all_rows(rows, ratio):
    cluster, scored = map(list, zip(*rows, strict=True))
    ds = table(np.ones((len(rows), 1)), cluster=cluster, ifd=[0.5 if has else None for has in scored])
    report = select(ds, ratio, "ifd-quota").report
    assert report.n_kept == min(round(ratio * len(rows)), sum(scored))
    clusters = report.clusters
    assert (clusters["kept"] <= clusters["eligible"]).all()
    if report.n_kept >= (clusters["eligible"] > 0).sum():
        assert (clusters["kept"] >= np.minimum(clusters["eligible"], 1)).all()
    if clusters["eligible"].equals(clusters["rows"]):
        exact = ratio * clusters["rows"]
        assert (np.abs(clusters["kept"] - exact) <= len(clusters)).all()


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
class TestEveryStrategy:
    @pytest.mark.parametrize("budget", [{"ratio": 0.3}, {"rows": 40}, {"tokens": 700}, {"ratio": 1.0}])
    def test_keeps_each_row_once_within_the_budget(self, strategy, budget):
        ds = random_table(150)
        sel = select(ds, strategy=strategy, **budget)
        assert sel.indices.dtype == np.int64
        assert (np.diff(sel.indices) > 0).all()
        assert 0 < len(sel.indices) <= len(ds)
        # deita may run out of dissimilar rows; random-tokens counts tokens.
        if "rows" in budget and strategy not in ("deita", "random-tokens"):
            assert len(sel.indices) == 40
        if "tokens" in budget:
            assert sel.coverage.tokens_kept <= 700
        assert sorted([*sel.indices.tolist(), *sel.dropped]) == list(range(len(ds)))

    def test_is_the_same_under_a_seed(self, strategy):
        ds = random_table(120)
        first = select(ds, 0.3, strategy, seed=5).indices
        np.testing.assert_array_equal(first, select(ds, 0.3, strategy, seed=5).indices)

    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_small_tables(self, strategy, n):
        ds = random_table(10).select(range(n))
        assert len(select(ds, 1.0, strategy).indices) <= n

    def test_without_scores_only_strategies_that_ignore_them_keep_rows(self, strategy):
        ds = table(np.eye(3), ifd=[None] * 3)
        kept = len(select(ds, 1.0, strategy).indices)
        # ifd-cluster keeps no tokens here, so random-tokens keeps none either.
        pool = STRATEGIES[strategy].pool
        assert kept == (0 if pool == "eligible" or strategy == "random-tokens" else 3)

    def test_identical_rows(self, strategy):
        ds = table(np.ones((30, 3)))
        kept = len(select(ds, rows=12, strategy=strategy).indices)
        assert kept == (1 if strategy == "deita" else 12)

    @pytest.mark.parametrize("budget", [{"ratio": 0.29}, {"ratio": 1.0}, {"rows": 33}, {"tokens": 900}])
    def test_the_explorer_agrees_with_select(self, strategy, budget):
        ds = random_table(200)
        fast = Explorer(ds, strategy, seed=3).at(**budget)
        plain = select(ds, strategy=strategy, seed=3, **budget)
        np.testing.assert_array_equal(fast.indices, plain.indices)
        assert fast.settings == plain.settings
        for name, value in plain.coverage.numbers.items():
            assert fast.coverage.numbers[name] == pytest.approx(value, abs=1e-6), name
        assert fast.report.clusters.equals(plain.report.clusters)
        assert fast.report.mean_ifd_kept == plain.report.mean_ifd_kept

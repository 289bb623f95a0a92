"""Coverage metrics: each one worked by hand, then properties that hold for any table.

This file is not in a folder `tests/coverage`: numba would import that folder as the package `coverage`.
"""

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core import tables
from workbench.coverage import (
    Partition,
    Prefixes,
    cluster_shares,
    jensen_shannon,
    mmd,
    nearest,
    prepare,
    read_embedding,
    space,
)
from workbench.coverage.language import languages

counts = st.lists(st.integers(0, 50), min_size=5, max_size=5).filter(any)


def shares(numbers: list[int]) -> np.ndarray:
    return np.array(numbers) / sum(numbers)


@pytest.mark.parametrize(
    ("p", "q", "bits"),
    [
        ([0.2, 0.8], [0.2, 0.8], 0.0),
        ([1.0, 0.0], [0.0, 1.0], 1.0),
        # middle (3/4, 1/4): half of log2(4/3), and half of (log2(2/3) + log2(2)) / 2
        ([1.0, 0.0], [0.5, 0.5], (np.log2(4 / 3) + 0.5 * np.log2(2 / 3) + 0.5) / 2),
    ],
)
def test_divergence_matches_values_by_hand(p, q, bits):
    assert jensen_shannon(np.array(p), np.array(q)) == pytest.approx(bits, abs=1e-12)


def test_divergence_matches_the_published_value():
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(0.311278, abs=1e-6)


@given(counts, counts)
def test_divergence_is_symmetric_and_between_0_and_1(left, right):
    p, q = shares(left), shares(right)
    assert jensen_shannon(p, p) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p), abs=1e-12)
    assert 0 <= jensen_shannon(p, q) <= 1 + 1e-12


def test_cluster_shares_match_values_by_hand():
    cluster = np.array([2, 0, 0, 2, 2, 5])
    eligible = np.array([True, True, False, True, True, True])
    kept = np.array([True, True, False, True, False, False])
    expected = {
        "cluster": [0, 2, 5],
        "rows": [2, 3, 1],
        "eligible": [1, 3, 1],
        "kept": [1, 2, 0],
        "of_all": [2 / 6, 3 / 6, 1 / 6],
        "of_kept": [1 / 3, 2 / 3, 0],
    }
    assert cluster_shares(cluster, eligible, kept).to_dict("list") == expected
    assert cluster_shares(Partition.of(cluster), eligible, kept).to_dict("list") == expected


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_keeping_all_rows_has_no_divergence(labels):
    every = np.ones(len(labels), bool)
    table = cluster_shares(np.array(labels), every, every)
    assert jensen_shannon(table["of_all"].to_numpy(), table["of_kept"].to_numpy()) == 0
    assert Partition.of(np.array(labels)).divergence(every) == 0
    assert Partition.of(np.array(labels)).divergence(~every) is None


def test_features_match_values_by_hand():
    # The frequencies 0 and pi/2 give the phases 0 and pi/2 for the vector 1.
    frequency = np.zeros((1, mmd.FREQUENCIES), np.float32)
    frequency[0, 1] = np.pi / 2
    features = mmd.features(np.array([[1.0]], np.float32), frequency)[0] * np.sqrt(mmd.FREQUENCIES)
    assert features[:2] == pytest.approx([1, 0], abs=1e-6)  # cosines
    assert features[[mmd.FREQUENCIES, mmd.FREQUENCIES + 1]] == pytest.approx([0, 1], abs=1e-6)  # sines
    assert mmd.discrepancy(np.array([1.0, 0]), np.array([0, 1.0])) == pytest.approx(np.sqrt(2))


def test_random_features_approximate_the_gaussian_kernel():
    rng = np.random.default_rng(0)
    sample = unit(rng.standard_normal((40, 8)))
    squared = 2 - 2 * sample @ sample.T
    width2 = np.median(squared[np.triu_indices(40, 1)])
    exact = np.exp(-squared / (2 * width2))
    kernels = [
        (features := mmd.features(sample, mmd.frequencies(sample, np.random.default_rng(seed)))) @ features.T
        for seed in range(30)
    ]
    assert np.mean(kernels, axis=0) == pytest.approx(exact, abs=0.06)


def test_distances_match_values_by_hand():
    # Similarities to the nearest other kept row; the second row is kept.
    distances = nearest.distances(np.array([0.25, 0.5, 1.0, -1.0]), np.array([False, True, False, False]))
    assert distances.tolist() == [0.75, 0, 0, 2]


def test_near_duplicates_match_the_share_by_hand():
    similar = np.array([0.99, 0.95, 0.94, 1.0])
    assert nearest.near_duplicates(similar, np.array([True, True, True, False])) == pytest.approx(2 / 3)
    assert nearest.near_duplicates(similar, np.zeros(4, bool)) is None


def test_coverage_of_four_directions_matches_values_by_hand():
    """The rows lie at 0, 60, 90 and 180 degrees; the first and third are kept."""
    radians = np.deg2rad([0, 60, 90, 180])
    vectors = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    kept = np.array([True, False, True, False])
    tokens = np.array([10, 20, 30, 40])
    coverage = prepare(plain(4), vectors, tokens).coverage(kept)
    # The distances are 0, 1 - cos 30, 0, 1 - cos 90.
    assert coverage.radius == pytest.approx(1, abs=1e-6)
    assert coverage.median_distance == pytest.approx((1 - np.sqrt(3) / 2) / 2, abs=1e-6)
    assert (coverage.near_duplicates, coverage.n_anchors) == (0, 4)
    assert (coverage.mean_tokens_all, coverage.mean_tokens_kept, coverage.tokens_kept) == (25, 20, 40)
    # Each row is its own topic and length; two of four are kept: (1/4, 1/4, 1/4, 1/4) and (1/2, 0, 1/2, 0).
    half = (0.25 * np.log2(0.25 / 0.375) * 2 + 0.25 * np.log2(2) * 2 + 0.5 * np.log2(0.5 / 0.375) * 2) / 2
    assert coverage.topic_divergence == pytest.approx(half)
    assert coverage.length_divergence == pytest.approx(half)
    assert coverage.language_divergence == 0


def test_languages_come_from_column_fence_or_instruction():
    rows = {
        "instruction": [
            "Sort a list in Java.",
            "Use JavaScript",
            "Reverse.",
            "Do it in c++.",
            "Go home",
            "R",
        ],
        "response": ["x", "y", "```py\nz\n```", "w", "```\nv\n```", "no"],
    }
    ds = datasets.Dataset.from_dict(rows)
    expected = ["java", "javascript", "python", "c++", "unnamed", "unnamed"]
    assert languages(ds).tolist() == expected
    named = datasets.Dataset.from_dict({"lang": ["Python", "cpp", None]})
    assert languages(named).tolist() == ["python", "c++", "unnamed"]


def plain(n: int) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"id": [str(i) for i in range(n)]})


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def random_space(n: int = 600, d: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    ds = datasets.Dataset.from_dict({"language": rng.choice(["python", "java"], n, p=[0.8, 0.2]).tolist()})
    return prepare(ds, unit(rng.standard_normal((n, d))), rng.integers(1, 99, n))


ZERO_FOR_ALL = ("mmd", "radius", "median_distance", "distance_90", "distance_99")
DIVERGENCES = ("topic_divergence", "language_divergence", "length_divergence")


@given(st.integers(1, 40), st.integers(0, 5))
def test_keeping_all_rows_loses_nothing(n, seed):
    numbers = random_space(n, 3, seed).coverage(np.ones(n, bool)).numbers
    for name in (*ZERO_FOR_ALL, *DIVERGENCES):
        assert numbers[name] == pytest.approx(0, abs=1e-6), name
    assert numbers["mean_tokens_kept"] == numbers["mean_tokens_all"]


def space_with_copies(n: int = 600):
    """Return a space in which a quarter of the rows are near copies of another quarter, and its clusters."""
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((n, 6)))
    vectors[: n // 4] = unit(vectors[n // 4 : n // 2] + rng.normal(0, 0.01, (n // 4, 6)))
    ds = datasets.Dataset.from_dict({"language": rng.choice(["python", "java"], n, p=[0.8, 0.2]).tolist()})
    clusters = Partition.of(rng.choice(20, n, p=rng.dirichlet(np.ones(20))))
    return prepare(ds, vectors, rng.integers(1, 99, n)), clusters


def numbers_of(whole, clusters, kept: np.ndarray) -> dict[str, float]:
    lost = int((clusters.counts(kept) == 0).sum())
    by_cluster = {"cluster_divergence": clusters.divergence(kept), "clusters_lost": lost}
    return by_cluster | whole.coverage(kept).numbers


@pytest.mark.parametrize(
    "name",
    [
        *("cluster_divergence", "clusters_lost", *DIVERGENCES, "mmd", "radius"),
        *("median_distance", "distance_90", "distance_99", "near_duplicates", "mean_tokens_kept"),
    ],
)
def test_random_selections_converge_to_the_whole_as_the_ratio_grows(name):
    whole, clusters = space_with_copies()
    of_all = numbers_of(whole, clusters, np.ones(whole.n, bool))[name]
    errors = []
    for share in (0.03, 0.2, 0.5, 0.85):
        draws = [np.random.default_rng(seed).random(whole.n) < share for seed in range(1, 13)]
        errors.append(np.mean([abs(numbers_of(whole, clusters, draw)[name] - of_all) for draw in draws]))
    assert (np.diff(errors) <= 0).all()
    assert errors[-1] < 0.45 * errors[0]
    if name not in ("near_duplicates", "mean_tokens_kept"):  # these describe the kept rows, not a loss
        assert of_all == pytest.approx(0, abs=1e-6)


def test_a_lopsided_selection_covers_less_than_a_random_one():
    whole = random_space()
    lopsided = whole.embedding[:, 0] > np.quantile(whole.embedding[:, 0], 0.7)
    random = np.random.default_rng(1).permutation(lopsided)
    for name in ("mmd", "topic_divergence", "distance_99", "radius"):
        assert whole.coverage(lopsided).numbers[name] > whole.coverage(random).numbers[name], name


def test_copies_count_as_near_duplicates_and_cover_each_other():
    vectors = unit(np.random.default_rng(0).standard_normal((20, 16)))
    whole = prepare(plain(40), np.concatenate([vectors, vectors]), None)
    assert whole.coverage(np.ones(40, bool)).near_duplicates == 1
    assert whole.coverage(np.arange(40) < 20).near_duplicates == 0
    assert whole.coverage(np.arange(40) < 20).radius == pytest.approx(0, abs=1e-6)  # its copy is kept


@pytest.mark.parametrize("mask", [np.zeros(5, bool), np.arange(5) == 2])
def test_coverage_of_no_row_and_of_one_row(mask):
    whole = random_space(5)
    coverage = whole.coverage(mask)
    assert (coverage.radius is None) == (not mask.any())
    if mask.any():
        radius = float((1 - whole.embedding @ whole.embedding[2]).max())
        assert coverage.radius == pytest.approx(radius, abs=1e-6)
        assert coverage.near_duplicates == 0


def test_missing_rows_and_columns_give_none():
    assert set(prepare(plain(0)).coverage(np.zeros(0, bool)).numbers.values()) == {None}
    numbers = prepare(plain(3)).coverage(np.ones(3, bool)).numbers
    assert {name for name, value in numbers.items() if value is not None} == {"language_divergence"}


@pytest.mark.parametrize("table_bytes", [2**27, 2**12, 2**10])  # blocks of one, several and many rows
def test_prefix_sums_equal_the_sums_of_the_same_rows(table_bytes, monkeypatch):
    monkeypatch.setattr("workbench.coverage.prefix._TABLE_BYTES", table_bytes)
    monkeypatch.setattr(space, "ANCHORS", 30)
    rng = np.random.default_rng(3)
    whole = random_space(90)
    order, starts = rng.permutation(90)[:80], np.array([0, 50, 50, 51, 80])
    prefixes = Prefixes(whole, order, starts)
    for _ in range(20):
        n = rng.integers(0, np.diff(starts) + 1)
        rows = np.concatenate([order[start : start + k] for start, k in zip(starts[:-1], n, strict=True)])
        fast, slow = prefixes.sums(n), whole.sums(rows)
        np.testing.assert_allclose(fast.features, slow.features, atol=1e-5)
        np.testing.assert_allclose(fast.nearest_other, slow.nearest_other, atol=1e-6)


def test_embeddings_are_read_without_a_copy():
    vectors = unit(np.random.default_rng(0).standard_normal((50, 8)))
    ds = tables.with_columns(plain(50), {"embedding": vectors}, {"embedding": tables.vector(8)})
    embedding = read_embedding(ds)
    buffers = ds.data.column("embedding").chunk(0).flatten().buffers()
    assert embedding.__array_interface__["data"][0] == buffers[1].address
    np.testing.assert_array_equal(embedding, vectors)
    lists = plain(2).add_column("embedding", [[1.0, 0.0], [0.0, 1.0]])
    assert read_embedding(lists).dtype == np.float32
    assert read_embedding(plain(2)) is None


def test_anchors_are_independent_of_selections_with_the_same_seed():
    """A strategy with the same seed must not select the anchors."""
    anchors = prepare(plain(20_000), seed=0).anchors
    drawn = np.random.default_rng(0).choice(20_000, 5000, replace=False)
    assert np.isin(anchors, drawn).mean() == pytest.approx(0.25, abs=0.04)

"""How faithfully a selection represents the clusters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.coverage import cluster_shares, jensen_shannon

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
def test_divergences_by_hand(p, q, bits):
    assert jensen_shannon(np.array(p), np.array(q)) == pytest.approx(bits, abs=1e-12)


def test_the_worked_value_is_the_known_one():
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(0.311278, abs=1e-6)


@given(counts, counts)
def test_divergence_is_symmetric_and_between_0_and_1(left, right):
    p, q = shares(left), shares(right)
    assert jensen_shannon(p, p) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p), abs=1e-12)
    assert 0 <= jensen_shannon(p, q) <= 1 + 1e-12


def test_shares_of_each_cluster_by_hand():
    cluster = np.array([2, 0, 0, 2, 2, 5])
    eligible = np.array([True, True, False, True, True, True])
    kept = np.array([True, True, False, True, False, False])
    assert cluster_shares(cluster, eligible, kept).to_dict("list") == {
        "cluster": [0, 2, 5],
        "rows": [2, 3, 1],
        "eligible": [1, 3, 1],
        "kept": [1, 2, 0],
        "of_all": [2 / 6, 3 / 6, 1 / 6],
        "of_kept": [1 / 3, 2 / 3, 0],
    }


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_keeping_all_rows_diverges_by_nothing(labels):
    every = np.ones(len(labels), bool)
    found = cluster_shares(np.array(labels), every, every)
    assert jensen_shannon(found["of_all"].to_numpy(), found["of_kept"].to_numpy()) == 0

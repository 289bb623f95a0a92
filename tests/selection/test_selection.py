"""The paper's selection rule, budgets, reasons and errors."""

import math

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench import selection
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.selection import Budget, Candidates, Explorer, select, usable

# Cluster 0 has three eligible rows, cluster 1 two, cluster 2 none.
IFD = [0.9, 0.5, 1.2, 0.7, 0.8, 0.6, None, 1.0]
CLUSTER = [0, 0, 0, 0, 1, 1, 1, 2]


def scored(ifd: list[float | None] = IFD, cluster: list[int] | None = CLUSTER) -> datasets.Dataset:
    columns = {"id": [str(i) for i in range(len(ifd))], "ifd": ifd}
    features = {"id": tables.TEXT, "ifd": tables.FLOAT}
    columns["score_status"] = ["no_target" if value is None else "ok" for value in ifd]
    features["score_status"] = tables.TEXT
    if cluster is not None:
        columns["cluster"], features["cluster"] = cluster, tables.INT
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def papers_rule(ifd: list[float | None], cluster: list[int], ratio: float) -> list[int]:
    """Section 3 of arXiv 2504.12687 in plain Python: the hardest rows below 1 of each cluster."""
    kept = []
    for label in set(cluster):
        rows = [i for i in range(len(ifd)) if cluster[i] == label and ifd[i] is not None and ifd[i] < 1]
        rows.sort(key=lambda i: ifd[i], reverse=True)  # stable: ties keep their order
        kept += rows[: int(len(rows) * ratio)]
    return sorted(kept)


rows_of_columns = st.lists(
    st.tuples(
        st.none() | st.sampled_from([0.5, 0.9, 1.0]) | st.floats(0.01, 2),  # ties among them
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=60,
)
ratios = st.floats(0.01, 1) | st.sampled_from([0.3, 0.4, 1, 1.0])


@given(rows_of_columns, ratios)
def test_ifd_cluster_is_the_papers_rule_row_for_row(rows, ratio):
    ifd, cluster = map(list, zip(*rows, strict=True))
    ds = scored(ifd, cluster)
    indices = select(ds, ratio).indices
    assert indices.dtype == np.int64
    assert indices.tolist() == papers_rule(ifd, cluster, ratio)
    assert Explorer(ds).at(ratio).indices.tolist() == indices.tolist()


@given(
    rows_of_columns,
    ratios,
    st.sampled_from(["ifd-cluster", "ifd-quota", "ifd-top", "ifd-band", "cluster-random", "random"]),
    st.floats(0.3, 1.5),
)
def test_kept_and_dropped_are_complements(rows, ratio, strategy, max_ifd):
    ifd, cluster = map(list, zip(*rows, strict=True))
    sel = select(scored(ifd, cluster), ratio, strategy, max_ifd=max_ifd)
    assert sorted([*sel.indices.tolist(), *sel.dropped]) == list(range(len(rows)))
    assert sel.mask.sum() == len(sel.indices) == len(sel.dataset) == sel.report.n_kept


@pytest.mark.parametrize(
    ("strategy", "budget", "kept"),
    [
        ("ifd-cluster", {"ratio": 0.4}, [0]),  # int(3 * 0.4) of cluster 0, int(2 * 0.4) of cluster 1
        ("ifd-cluster", {"ratio": 0.7}, [0, 3, 4]),
        ("ifd-cluster", {}, [0]),  # the default ratio, 0.4
        ("ifd-cluster", {"ratio": 1}, [0, 1, 3, 4, 5]),
        ("ifd-top", {"ratio": 0.4}, [0, 4]),  # int(5 * 0.4)
        ("ifd-cluster", {"rows": 1}, [0]),  # the first to complete a row: a third of cluster 0
        ("ifd-cluster", {"rows": 2}, [0, 4]),  # then half of cluster 1
        ("ifd-cluster", {"rows": 100}, [0, 1, 3, 4, 5]),
        # 4 of 8 rows: clusters of 4, 3 and 1 rows get 2, 1.5 and 0.5; the last has no eligible row.
        ("ifd-quota", {"ratio": 0.5}, [0, 3, 4, 5]),
        ("ifd-quota", {"rows": 1}, [0]),
        ("ifd-quota", {"rows": 2}, [0, 4]),
        ("ifd-quota", {"ratio": 1}, [0, 1, 3, 4, 5]),
        ("ifd-top", {"rows": 3}, [0, 3, 4]),
        ("ifd-top", {"rows": 100}, [0, 1, 3, 4, 5]),
    ],
)
def test_small_cases_by_hand(strategy, budget, kept):
    sel = select(scored(), strategy=strategy, **budget)
    assert sel.indices.tolist() == kept
    assert sel.dataset["id"][:] == [str(i) for i in kept]


def test_random_keeps_any_row_and_depends_on_the_seed_alone():
    ds = scored()
    first = select(ds, 0.5, "random", seed=3).indices.tolist()
    assert len(set(first)) == 4
    assert select(ds, 0.5, "random", seed=3).indices.tolist() == first
    assert {tuple(select(ds, 0.5, "random", seed=seed).indices) for seed in range(10)} != {tuple(first)}
    assert select(ds, strategy="random", rows=8).indices.tolist() == list(range(8))


def test_random_needs_no_scores():
    ds = datasets.Dataset.from_dict({"instruction": list("abcde")})
    sel = select(ds, 0.4, "random")
    assert len(sel.indices) == 2
    assert (sel.report.mean_ifd_all, sel.report.clusters, sel.report.divergence) == (None, None, None)


def test_every_dropped_row_has_a_reason():
    assert select(scored(), 0.4).dropped == {
        1: "IFD 0.5000 is below the cut of cluster 0",
        2: "IFD 1.2000 is not below max_ifd 1",
        3: "IFD 0.7000 is below the cut of cluster 0",
        4: "IFD 0.8000 is below the cut of cluster 1",
        5: "IFD 0.6000 is below the cut of cluster 1",
        6: "not scored: no_target",
        7: "IFD 1.0000 is not below max_ifd 1",
    }
    assert select(scored(), 0.4, "ifd-top").dropped[3] == "IFD 0.7000 is below the cut"
    assert set(select(scored(), 0.4, "random").dropped.values()) == {"not chosen by random"}


def test_max_ifd_bounds_the_eligible_rows():
    assert select(scored(), 1, max_ifd=0.75).indices.tolist() == [1, 3, 5]
    assert select(scored(), 1, max_ifd=math.inf).indices.tolist() == [0, 1, 2, 3, 4, 5, 7]


def test_report_numbers_by_hand():
    report = select(scored(), 0.7).report  # keeps rows 0, 3 and 4
    assert (report.n_rows, report.n_eligible, report.n_kept) == (8, 5, 3)
    assert report.share_of_all == 3 / 8
    assert report.share_of_eligible == 3 / 5
    assert report.mean_ifd_all == pytest.approx((0.9 + 0.5 + 1.2 + 0.7 + 0.8 + 0.6 + 1.0) / 7)
    assert report.mean_ifd_kept == pytest.approx((0.9 + 0.7 + 0.8) / 3)
    assert report.clusters_lost == 1
    assert report.clusters["kept"].tolist() == [2, 1, 0]
    assert report.clusters["of_all"].tolist() == [4 / 8, 3 / 8, 1 / 8]
    # Shares 1/2, 3/8, 1/8 against 2/3, 1/3, 0, in bits.
    p, q = [1 / 2, 3 / 8, 1 / 8], [2 / 3, 1 / 3, 0]
    expected = sum(
        (a * math.log2(2 * a / (a + b)) + (b * math.log2(2 * b / (a + b)) if b else 0)) / 2
        for a, b in zip(p, q, strict=True)
    )
    assert report.divergence == pytest.approx(expected)


def test_keeping_all_rows_has_no_divergence():
    report = select(scored([0.5] * 6, [0, 0, 1, 1, 2, 2]), 1).report
    assert (report.n_kept, report.divergence, report.clusters_lost) == (6, 0, 0)


@pytest.mark.parametrize("ifd", [[], [None, None], [1.5, 2.0]])
def test_without_eligible_rows_nothing_is_kept(ifd):
    sel = select(scored(ifd, [0] * len(ifd)), 0.4)
    assert len(sel.indices) == len(sel.dataset) == 0
    assert (sel.report.n_kept, sel.report.mean_ifd_kept, sel.report.divergence) == (0, None, None)


def test_candidates_read_once_serve_many_ratios():
    ds = scored()
    candidates = Candidates(ds)
    for ratio in (0.2, 0.4, 0.9):
        assert select(ds, ratio, candidates=candidates).indices.tolist() == select(ds, ratio).indices.tolist()


@pytest.fixture
def latest(monkeypatch):
    """A user's strategy, registered for one test."""
    monkeypatch.setitem(selection.STRATEGIES, "latest", None)

    @wb.strategy("latest", needs=("ifd",), reason="{name} keeps later rows; IFD {ifd:.1f}")
    def latest(candidates, n, rng):
        return np.arange(len(candidates))[::-1]


def test_a_users_strategy_is_one_function(latest):
    sel = select(scored(), strategy="latest", rows=2)
    assert sel.indices.tolist() == [6, 7]
    assert sel.dropped[2] == "latest keeps later rows; IFD 1.2"
    assert Explorer(scored(), "latest").at(0.25).indices.tolist() == [6, 7]
    assert "latest" in usable(scored())
    assert "latest" not in usable(scored().remove_columns("ifd"))
    with pytest.raises(UserError, match="column 'ifd' is missing"):
        select(scored().remove_columns("ifd"), strategy="latest")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([True, False], "strategy='latest' returned bool, not row numbers"),
        ([0.0, 1.0], "strategy='latest' returned float64, not row numbers"),
        ([3, 1, 3], "strategy='latest' returned a row twice, or one outside of the dataset's 8 rows"),
        ([7, 8], "strategy='latest' returned a row twice, or one outside of the dataset's 8 rows"),
        ([-1], "strategy='latest' returned a row twice, or one outside of the dataset's 8 rows"),
    ],
)
def test_what_a_users_strategy_returns_is_checked(latest, returned, message):
    wb.strategy("latest")(lambda candidates, n, rng: np.array(returned))
    with pytest.raises(UserError, match=message):
        select(scored(), 0.4, "latest")


@pytest.mark.parametrize("returned", [[3, 1], (3, 1), [[3], [1]], range(1, 4, 2), np.array([3, 1], np.int8)])
def test_a_users_strategy_may_return_any_sequence_of_row_numbers(latest, returned):
    wb.strategy("latest")(lambda candidates, n, rng: returned)
    assert select(scored(), rows=2, strategy="latest").indices.tolist() == [1, 3]


@pytest.mark.parametrize(("returned", "problem"), [(None, "None"), (np.eye(2, dtype=int), "an array of")])
def test_a_users_strategy_that_returns_no_row_numbers_is_an_error(latest, returned, problem):
    wb.strategy("latest")(lambda candidates, n, rng: returned)
    with pytest.raises(UserError, match=f"strategy='latest' returned {problem}"):
        select(scored(), rows=2, strategy="latest")


def test_a_built_in_strategy_is_not_replaced():
    with pytest.raises(UserError, match="name='random' is a built-in strategy"):
        wb.strategy("random")(lambda candidates, n, rng: np.arange(n))


@pytest.mark.parametrize("bound", [float("nan"), -1, "1", True, None])
def test_max_ifd_must_be_a_positive_number(bound):
    with pytest.raises(UserError, match=r"max_ifd=.* must be a number above 0"):
        select(scored(), 0.4, max_ifd=bound)


def test_a_pool_is_all_or_eligible():
    with pytest.raises(UserError, match="pool='scored' is not known; choose one of all, eligible"):
        wb.strategy("latest", pool="scored")


def test_the_strategies_are_listed_with_the_papers_first():
    assert list(selection.STRATEGIES) == [
        *("ifd-cluster", "ifd-quota", "ifd-top", "ppl-top", "ifd-band", "cluster-random"),
        *("random", "random-tokens", "longest", "deita", "k-center", "facility-location", "parametric"),
    ]


def test_an_unknown_strategy_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UserError, match="strategy='first' is not known; choose one of cluster-random, deita"):
        select(scored(), strategy="first")


@pytest.mark.parametrize("ratio", [0, 1.5, -0.1, True, "0.4", math.nan])
def test_a_ratio_outside_of_0_to_1_is_an_error(ratio):
    with pytest.raises(UserError, match=f"ratio={ratio!r} must be above 0 and at most 1"):
        select(scored(), ratio)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"ratio": 0.4, "rows": 3}, "ratio=0.4 and rows=3 are 2 budgets; give one of them"),
        ({"rows": 0}, "rows=0 must be a whole number of at least 1"),
        ({"rows": 3, "tokens": 9}, "rows=3 and tokens=9 are 2 budgets; give one of them"),
        ({"tokens": -1}, "tokens=-1 must be a whole number of at least 1"),
        ({"tokens": 9}, "column 'n_tokens' is missing.*make it with wb.score first"),
    ],
)
def test_errors_name_the_wrong_budget(budget, message):
    with pytest.raises(UserError, match=message):
        select(scored(), **budget)


@pytest.mark.parametrize(
    ("missing", "strategy", "made_by"),
    [
        ("ifd", "ifd-cluster", "wb.score"),
        ("cluster", "ifd-cluster", "wb.embed and wb.cluster"),
        ("ifd", "ifd-top", "wb.score"),
        ("embedding", "k-center", "wb.embed"),
    ],
)
def test_the_error_for_a_missing_column_names_the_stages_that_add_it(missing, strategy, made_by):
    message = f"column '{missing}' is missing.*make it with {made_by} first"
    ds = scored()
    ds = ds.remove_columns(missing) if missing in ds.column_names else ds
    with pytest.raises(UserError, match=message):
        select(ds, 0.4, strategy)


@given(st.integers(0, 10_000), ratios)
def test_a_ratio_is_rounded_down(n, ratio):
    assert Budget(ratio).most_rows(n) == int(n * ratio)

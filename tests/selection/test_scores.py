"""Any numeric column in place of IFD, bands of scores, random rows of each cluster, and the longest rows."""

from dataclasses import replace

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.selection import (
    STRATEGIES,
    Candidates,
    Explorer,
    band,
    ifd_cut,
    numeric_columns,
    row_details,
    select,
    usable,
)
from workbench.selection.strategies.bands import in_band

# By quality, cluster 0 is 5, 0, 2, 3 and cluster 1 is 6, 4; row 1 has no value. IFD has the reverse order.
QUALITY = [8.0, None, 6.0, 1.0, 2.0, 9.0, 7.0]
CLUSTER = [0, 0, 0, 0, 1, 0, 1]
IFD = [0.2, 0.9, 0.4, 0.8, 1.3, 0.1, 0.3]
READS_BY = [name for name, registered in STRATEGIES.items() if "by" in registered.settings]


def table(**columns) -> datasets.Dataset:
    """Seven rows with `quality`, `cluster`, `ifd` and `n_tokens`."""
    values = {
        "quality": QUALITY,
        "cluster": CLUSTER,
        "ifd": IFD,
        "n_tokens": [30, 50, 10, 50, 20, 40, 60],
        "embedding": np.eye(7, dtype=np.float32),
    } | columns
    features = {
        "ifd": tables.FLOAT,
        "cluster": tables.INT,
        "n_tokens": tables.INT,
        "embedding": tables.vector(7),
    }
    if "quality" not in columns:
        features["quality"] = tables.FLOAT
    ds = datasets.Dataset.from_dict({name: values[name] for name in features}, datasets.Features(features))
    return ds if "quality" not in columns else ds.add_column("quality", columns["quality"])


def many(n: int = 200) -> datasets.Dataset:
    rng = np.random.default_rng(0)
    return datasets.Dataset.from_dict(
        {
            "ifd": rng.uniform(0.5, 1.1, n),
            "cluster": rng.integers(0, 3, n),
            "quality": rng.normal(0, 1, n).round(1),
            "n_tokens": rng.integers(1, 90, n),
        }
    )


@pytest.mark.parametrize(
    ("strategy", "budget", "kept"),
    [
        ("ifd-cluster", {"ratio": 0.5}, [0, 5, 6]),  # two of four rows with a value, one of two
        ("ifd-cluster", {"rows": 1}, [5]),
        ("ifd-quota", {"ratio": 0.5}, [0, 2, 5, 6]),  # round(3.5) rows; clusters of 5 and 2 get 2.86 and 1.14
        ("ifd-top", {"ratio": 0.5}, [0, 5, 6]),
        ("ifd-top", {"rows": 4}, [0, 2, 5, 6]),
        ("deita", {"rows": 2}, [0, 5]),
    ],
)
def test_another_column_ranks_by_hand(strategy, budget, kept):
    sel = select(table(), strategy=strategy, by="quality", **budget)
    assert sel.indices.tolist() == kept
    assert sel.settings["by"] == "quality"


def test_every_row_with_a_value_is_eligible_whatever_its_ifd():
    sel = select(table(), 1.0, by="quality")
    assert sel.indices.tolist() == [0, 2, 3, 4, 5, 6]
    assert sel.report.n_eligible == 6
    assert sel.dropped == {1: "no quality"}


def test_reasons_and_report_name_the_column():
    sel = select(table(), 0.5, by="quality")
    assert sel.dropped[2] == "quality 6 is below the cut of cluster 0"
    assert (sel.report.ranked_by, sel.report.mean_score_kept) == ("quality", 8.0)
    assert sel.report.mean_score_all == pytest.approx(33 / 6)
    assert sel.numbers["mean_quality"] == 8.0
    assert sel.report.mean_ifd_kept == pytest.approx(0.2)  # IFD stays a number of the report
    assert select(table(), 0.5).report.ranked_by == "ifd"
    assert select(table(), 0.5, "k-center").report.ranked_by is None


def test_a_table_without_ifd_needs_none():
    ds = table().remove_columns("ifd")
    assert select(ds, 0.5, by="quality").indices.tolist() == [0, 5, 6]
    assert {"ifd-cluster", "ifd-band", "random-tokens", "deita"} <= set(usable(ds, "quality"))
    assert "ppl-top" not in usable(ds, "quality")
    assert "ifd-cluster" not in usable(ds)


def test_random_tokens_has_the_tokens_of_the_papers_rule_by_that_column():
    ds = many()
    tokens = np.array(ds["n_tokens"][:])
    paper = tokens[select(ds, 0.4, by="quality").indices].sum()
    drawn = tokens[select(ds, 0.4, "random-tokens", by="quality").indices].sum()
    assert paper - 90 < drawn <= paper
    shared = Candidates(ds)
    select(ds, 0.4, "random-tokens", candidates=shared)  # the cached ranking by IFD is not used again
    by_quality = replace(shared, by="quality")
    assert tokens[select(ds, 0.4, "random-tokens", candidates=by_quality).indices].sum() == drawn


def test_candidates_by_another_column_share_what_has_been_read(monkeypatch):
    ds, reads = many(), []
    read = tables.array
    monkeypatch.setattr(tables, "array", lambda ds, name: reads.append(name) or read(ds, name))
    candidates = Candidates(ds)
    select(ds, 0.4, candidates=candidates)
    select(ds, 0.4, candidates=replace(candidates, by="quality"))
    select(ds, 0.4, "ifd-band", candidates=replace(candidates, lower=0.1))
    assert sorted(reads) == ["cluster", "ifd", "quality"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            ["a"] * 7,
            r"by='quality': this column holds no numbers; name a numeric one \(there are: ifd",
        ),
        ([True] * 7, "by='quality': this column holds no numbers"),
        ([[1.0]] * 7, "by='quality': this column holds no numbers"),
        ([float("nan")] * 7, "by='quality': this column has no number in any of the 7 rows"),
        ([1.0, 2.0, float("inf"), 1.0, 1.0, 1.0, 1.0], "by='quality': row 2 of this column holds inf"),
    ],
)
@pytest.mark.parametrize("strategy", READS_BY)
def test_a_column_that_cannot_rank_is_an_error(values, problem, strategy):
    with pytest.raises(UserError, match=problem):
        select(table(quality=values), 0.5, strategy, by="quality")


def test_missing_values_of_all_numeric_types_are_left_out():
    for values in ([3, None, 2, 1, 1, 1, 1], np.array([3, np.nan, 2, 1, 1, 1, 1], np.float32)):
        sel = select(table(quality=values), 1.0, "ifd-top", by="quality")
        assert sel.dropped == {1: "no quality"}
    assert numeric_columns(table()) == ["ifd", "cluster", "n_tokens", "quality"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "missing"}, "by='missing': this column is missing from the dataset; name a numeric one"),
        ({"by": 3}, "by=3 must be the name of a numeric column"),
        ({"by": "quality", "max_ifd": 0.9}, "max_ifd=0.9 bounds IFD, but by='quality' takes its place"),
        (
            {"strategy": "random", "by": "quality"},
            "by='quality' has no effect on strategy='random'; ",
        ),
        ({"strategy": "ppl-top", "by": "quality"}, "by='quality' has no effect on strategy='ppl-top'"),
        ({"lower": 0.1}, "lower=0.1 has no effect on strategy='ifd-cluster'.*choose one of ifd-band"),
        ({"strategy": "ifd-band", "lower": 0.8}, "lower=0.8 must be below upper=0.75"),
        ({"strategy": "ifd-band", "lower": -0.1}, "lower=-0.1 must be a quantile from 0 to 1"),
        ({"strategy": "ifd-band", "upper": 75}, "upper=75 must be a quantile from 0 to 1"),
        ({"strategy": "ifd-band", "upper": True}, "upper=True must be a quantile from 0 to 1"),
        ({"strategy": "ifd-band", "upper": float("nan")}, "upper=nan must be a quantile from 0 to 1"),
    ],
)
def test_wrong_settings_are_errors(settings, message):
    for call in (select, Explorer):
        with pytest.raises(UserError, match=message):
            call(table(), **settings)


def test_a_users_strategy_may_rank_by_any_column(monkeypatch):
    monkeypatch.setitem(STRATEGIES, "lowest", None)
    wb.strategy("lowest", needs=("ifd",), reason="{score} is too high", settings=("by",))(
        lambda candidates, n, rng: np.argsort(candidates.score)
    )
    sel = select(table(), strategy="lowest", rows=1, by="quality")
    assert (sel.indices.tolist(), sel.dropped[0]) == ([3], "quality 8 is too high")
    assert select(table(), strategy="lowest", rows=1).indices.tolist() == [5]
    with pytest.raises(UserError, match="settings='best' is not known; choose one of by, lower, upper"):
        wb.strategy("lowest", settings=("best",))


def test_compare_ranks_by_the_column_where_a_strategy_can():
    compared = wb.compare(many(), ["ifd-top", "random", "k-center"][:2], rows=20, by="quality", draws=3)
    assert compared.selections["ifd-top"].settings["by"] == "quality"
    assert "by" not in compared.selections["random"].settings
    mean = compared.metrics.loc["mean_quality"]
    assert mean["ifd-top"] > mean["random 95 %"]
    with pytest.raises(UserError, match="by='quality' has no effect on strategy='random'"):
        wb.compare(many(), ["random", "longest"], rows=20, by="quality")


def test_the_cut_and_the_rank_are_those_of_the_column():
    sel = select(table(), 0.5, by="quality")
    assert ifd_cut(sel) == (7.0, 7.0)
    details = row_details(sel, 2)
    assert (details.rank, details.ranked) == (3, 4)


@pytest.mark.parametrize(
    ("n", "lower", "upper", "ranks"),
    [
        # Quantiles of four rows: 0.125, 0.375, 0.625, 0.875. Rank 0 is the highest score.
        (4, 0.25, 0.75, [1, 2]),
        (4, 0.0, 1.0, [0, 1, 2, 3]),
        (4, 0.5, 1.0, [0, 1]),
        (4, 0.0, 0.13, [3]),
        (4, 0.2, 0.3, []),
        (1, 0.25, 0.75, [0]),
        (2, 0.25, 0.75, [0, 1]),
        (3, 0.25, 0.75, [1]),
        (5, 0.1, 0.3, [3, 4]),  # bounds belong to the band
        (0, 0.25, 0.75, []),
    ],
)
def test_bands_by_hand(n, lower, upper, ranks):
    assert in_band(np.arange(n), lower, upper).tolist() == ranks


def test_ifd_band_draws_from_the_band_of_each_cluster():
    # Eligible by IFD: cluster 0 ranks 1, 3, 2, 0, 5 and cluster 1 has row 6.
    settings = {"strategy": "ifd-band", "lower": 0.2, "upper": 0.8}  # rows 3, 2, 0 and row 6
    for seed in range(5):
        sel = select(table(), 0.4, seed=seed, **settings)
        assert len(sel.indices) == 2  # int(5 * 0.4) of cluster 0, int(1 * 0.4) of cluster 1
        assert set(sel.indices) <= {0, 2, 3}
    assert select(table(), 1.0, **settings).indices.tolist() == [0, 2, 3, 6]
    assert band(sel) == pytest.approx((0.2, 0.8))
    assert sel.dropped[1] == "IFD 0.9000 is outside of the band of cluster 0, or not drawn from it"
    assert sel.dropped[4] == "IFD 1.3000 is not below max_ifd 1"
    assert (sel.settings["lower"], sel.settings["upper"]) == (0.2, 0.8)
    assert band(select(table(), 0.4)) is None
    assert "lower" not in select(table(), 0.4).settings


def test_ifd_band_by_another_column():
    sel = select(table(), 1.0, "ifd-band", by="quality", lower=0.5, upper=1.0)
    assert sel.indices.tolist() == [0, 5, 6]  # the upper half of 5, 0, 2, 3 and of 6, 4


@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0.1, 0.9)), min_size=1, max_size=40),
    st.floats(0.05, 1),
    st.integers(0, 99),
)
def test_the_whole_band_is_cluster_random_and_both_keep_the_papers_quota(rows, ratio, seed):
    cluster, ifd = map(list, zip(*rows, strict=True))
    ds = datasets.Dataset.from_dict({"cluster": cluster, "ifd": ifd})
    drawn = select(ds, ratio, "cluster-random", seed=seed)
    whole = select(ds, ratio, "ifd-band", lower=0.0, upper=1.0, seed=seed)
    assert whole.indices.tolist() == drawn.indices.tolist()
    paper = select(ds, ratio).report.clusters
    assert drawn.report.clusters["kept"].equals(paper["kept"])


@given(st.floats(0, 0.9), st.floats(0.05, 1), st.floats(0.05, 1))
def test_a_band_holds_rows_between_its_quantiles(lower, width, ratio):
    ds, upper = many(120), min(1.0, lower + width)
    sel = select(ds, ratio, "ifd-band", lower=lower, upper=upper)
    ifd, cluster = np.array(ds["ifd"][:]), np.array(ds["cluster"][:])
    for row in sel.indices:
        scores = np.sort(ifd[(cluster == cluster[row]) & (ifd < 1)])
        quantile = (np.searchsorted(scores, ifd[row]) + 0.5) / len(scores)
        assert lower - 1e-9 <= quantile <= upper + 1e-9


def test_cluster_random_draws_other_rows_for_another_seed():
    ds = many()
    draws = {tuple(select(ds, 0.3, "cluster-random", seed=seed).indices) for seed in range(5)}
    assert len(draws) == 5
    explorer = Explorer(ds, "cluster-random", seed=1)
    assert set(explorer.at(0.2).indices) < set(explorer.at(0.5).indices)  # a larger budget adds rows


def test_longest_by_hand():
    ds = table()
    assert select(ds, rows=1, strategy="longest").indices.tolist() == [6]
    assert select(ds, rows=2, strategy="longest").indices.tolist() == [1, 6]  # row 1 comes before row 3
    assert select(ds, 0.5, "longest").indices.tolist() == [1, 3, 6]  # int(7 * 0.5)
    assert select(ds, tokens=115, strategy="longest").indices.tolist() == [1, 6]
    assert select(ds, 0.5, "longest").dropped[0] == "shorter than the kept rows"
    assert select(ds, 0.5, "ifd-top", by="n_tokens").indices.tolist() == [1, 3, 6]

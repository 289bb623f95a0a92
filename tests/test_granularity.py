"""How many clusters, how they were made, and maps fitted on a sample."""

import numpy as np
import pytest
from test_embedding_cluster_project import in_blobs

from workbench import clustering, figures, projection, tables
from workbench.clustering import cluster
from workbench.errors import UserError
from workbench.granularity import suggest_k


def test_three_blobs_suggest_three():
    found = suggest_k(in_blobs(60), ks=(2, 3, 6))
    assert found.k == 3
    assert found.table["k"].tolist() == [2, 3, 6]
    assert found.table["stability"][1] == pytest.approx(1)
    assert found.reason.startswith("k = 3 has the highest silhouette")
    assert len(figures.cluster_counts(found.table, found.k).data) == 2


def test_k_must_lie_below_the_distinct_embeddings():
    with pytest.raises(UserError, match=r"ks=\[6\] must lie between 2 and 5"):
        suggest_k(in_blobs(6), ks=[6])


def test_settings_are_noted_once_and_the_input_is_not(monkeypatch):
    ds = in_blobs(30)
    first = cluster(ds, k=3)
    assert tables.noted(first, "cluster").items() >= {"method": "KMeans", "k": 3, "seed": 42}.items()
    assert tables.noted(ds, "cluster") == {}
    monkeypatch.setattr(clustering, "MINIBATCH_FROM", 20)
    again = cluster(first, k=2)
    assert tables.noted(again, "cluster")["method"] == "MiniBatchKMeans"
    assert again.info.description.count("workbench.cluster") == 1
    assert tables.noted(first, "cluster")["k"] == 3


def test_a_sample_keeps_every_cluster_and_is_drawn_by_seed(monkeypatch):
    monkeypatch.setattr(projection, "LIMIT", 20)
    monkeypatch.setattr(projection, "SAMPLE", 10)
    ds = tables.with_columns(in_blobs(30), {"cluster": [0] * 29 + [1]}, {"cluster": tables.INT})
    rows = projection._sample(ds, 0)
    assert len(rows) == 11
    assert rows[-1] == 29
    np.testing.assert_array_equal(rows, projection._sample(ds, 0))
    assert projection._sample(ds, 1).tolist() != rows.tolist()


def test_the_map_tells_that_it_was_fitted_on_a_sample():
    table = in_blobs(3).add_column("x", [0.0] * 3).add_column("y", [0.0] * 3).add_column("cluster", [0] * 3)
    table, kept = table.to_pandas(), np.ones(3, bool)

    def title(made=None):
        return figures.coverage_map(table, kept, made).layout.title.text

    assert "fitted on 2 of 3 rows" in title({"rows": 3, "fitted_rows": 2})
    assert "fitted" not in title({"rows": 3, "fitted_rows": 3})
    assert "numbers come from the embedding space" in title()

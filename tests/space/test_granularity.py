"""Suggested numbers of clusters, settings of a clustering, and maps fitted on a sample."""

import datasets
import numpy as np
import pytest
from test_embedding_cluster_project import in_blobs, instructions

from workbench import figures, first_look, load
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.space import clustering, projection
from workbench.space.clustering import cluster
from workbench.space.granularity import suggest_k


def test_three_blobs_suggest_three():
    suggestion = suggest_k(in_blobs(60), ks=(2, 3, 6))
    assert suggestion.k == 3
    assert suggestion.table["k"].tolist() == [2, 3, 6]
    assert suggestion.table["stability"][1] == pytest.approx(1)
    assert suggestion.reason.startswith("k = 3 has the highest silhouette")
    assert len(figures.cluster_counts(suggestion.table, suggestion.k).data) == 2


def at_angles(degrees: list[float]):
    angles = np.radians(degrees)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    ds = instructions([str(angle) for angle in degrees])
    return tables.with_columns(ds, {"embedding": vectors}, {"embedding": tables.vector(2)})


@pytest.mark.parametrize(("degrees", "distinct"), [([], 0), ([0], 1), ([0] * 40, 1), ([0, 90] * 20, 2)])
def test_too_few_distinct_embeddings_are_refused(degrees, distinct):
    with pytest.raises(UserError, match=f"^{distinct} distinct embeddings are too few to suggest"):
        suggest_k(at_angles(degrees))


def test_only_numbers_below_the_distinct_embeddings_are_tried():
    suggestion = suggest_k(at_angles([0, 1, 90, 91, 180, 181] * 5))
    assert suggestion.table["k"].tolist() == [2, 5]
    suggestion = suggest_k(at_angles([0, 1, 90, 91, 180, 181] * 5), ks=np.array([3, 2, 3]))
    assert suggestion.table["k"].tolist() == [2, 3]
    assert suggestion.k == 3


@pytest.mark.parametrize("ks", [[6], [], 3, [1], [2.0], [2, True]])
def test_invalid_numbers_of_clusters_are_refused(ks):
    with pytest.raises(UserError, match=r"ks=.* must be whole numbers from 2 to 5, below the 6 distinct"):
        suggest_k(in_blobs(6), ks=ks)


@pytest.mark.parametrize("file_format", ["disk", "parquet", "jsonl"])
def test_a_reloaded_table_keeps_the_settings_of_its_clustering(tmp_path, file_format):
    ds = cluster(in_blobs(30), k=3, seed=7)
    noted = tables.noted(ds, "cluster")
    assert noted.items() >= {"method": "KMeans", "k": 3, "seed": 7}.items()
    if file_format == "disk":
        ds.save_to_disk(tmp_path / "table")
        again = datasets.load_from_disk(tmp_path / "table")
    else:
        path = tmp_path / f"table.{file_format}"
        (tables.write_parquet if file_format == "parquet" else tables.write_jsonl)(ds, path)
        again = load(path)
    assert again["cluster"][:] == ds["cluster"][:]
    assert tables.noted(again, "cluster") == ({} if file_format == "jsonl" else noted)


def test_settings_are_noted_once_and_the_input_is_unchanged(monkeypatch):
    ds = in_blobs(30)
    first = cluster(ds, k=3)
    assert tables.noted(first, "cluster").items() >= {"method": "KMeans", "k": 3, "seed": 42}.items()
    assert tables.noted(ds, "cluster") == {}
    monkeypatch.setattr(clustering, "MINIBATCH_FROM", 20)
    again = cluster(first, k=2)
    assert tables.noted(again, "cluster")["method"] == "MiniBatchKMeans"
    assert again.info.description.count("workbench.cluster") == 1
    assert tables.noted(first, "cluster")["k"] == 3


def test_the_bundled_table_has_the_settings_of_its_clustering():
    assert tables.noted(first_look(), "cluster") == {"method": "KMeans", "k": 10, "seed": 42}


def test_a_sample_keeps_every_cluster_and_is_drawn_by_seed(monkeypatch):
    monkeypatch.setattr(projection, "LIMIT", 20)
    monkeypatch.setattr(projection, "SAMPLE", 10)
    ds = tables.with_columns(in_blobs(30), {"cluster": [0] * 29 + [1]}, {"cluster": tables.INT})
    rows = projection._sample(ds, 0)
    assert len(rows) == 11
    assert rows[-1] == 29
    np.testing.assert_array_equal(rows, projection._sample(ds, 0))
    assert projection._sample(ds, 1).tolist() != rows.tolist()


def test_the_title_of_the_map_says_that_it_was_fitted_on_a_sample():
    table = in_blobs(3).add_column("x", [0.0] * 3).add_column("y", [0.0] * 3).add_column("cluster", [0] * 3)
    table, kept = table.to_pandas(), np.ones(3, bool)

    def title(projection=None):
        return figures.coverage_map(table, kept, projection).layout.title.text

    assert "fitted on 2 of 3 rows" in title({"rows": 3, "fitted_rows": 2})
    assert "fitted" not in title({"rows": 3, "fitted_rows": 3})
    assert "distances are illustrative" in title()

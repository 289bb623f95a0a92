"""Embeddings, clusters and the map."""

import pickle

import numpy as np
import pytest
from conftest import table

from workbench.core import tables
from workbench.core.errors import UserError
from workbench.lm import models
from workbench.space import projection
from workbench.space.clustering import cluster
from workbench.space.embedding import Embedder, EmbedderSettings, embed
from workbench.space.projection import project

TEXTS = ["Reverse the string.", "Add two numbers.", "Sort the list.", "Add two numbers."]


def instructions(texts: list[str]):
    return table(texts, ["pass"] * len(texts))


@pytest.fixture
def encoded(monkeypatch) -> list[str]:
    """The texts passed to any embedder from here on."""
    texts, load = [], models.load_embedder

    def load_recording(*args):
        encoder = load(*args)
        encode = encoder.encode
        encoder.encode = lambda batch, **kwargs: texts.extend(batch) or encode(batch, **kwargs)
        return encoder

    monkeypatch.setattr(models, "load_embedder", load_recording)
    return texts


def in_blobs(n: int, d: int = 4):
    """`n` rows whose embeddings lie around three axes, in turn."""
    rng = np.random.default_rng(0)
    vectors = np.eye(d)[np.arange(n) % 3] + rng.normal(0, 0.02, (n, d))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return tables.with_columns(
        instructions([f"text {i}" for i in range(n)]), {"embedding": vectors}, {"embedding": tables.vector(d)}
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_embeddings_are_float32_of_unit_length(toy_embedder_dir, dtype):
    vectors = tables.array(embed(instructions(TEXTS), toy_embedder_dir, dtype=dtype), "embedding")
    assert (vectors.dtype, vectors.shape) == (np.float32, (4, 32))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[1], vectors[3])


def test_embeddings_are_those_of_the_embedder_in_the_order_of_the_rows(toy_embedder_dir):
    vectors = tables.array(embed(instructions(TEXTS), toy_embedder_dir), "embedding")
    encoder = models.load_embedder(toy_embedder_dir)
    expected = encoder.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_only_new_texts_are_embedded_and_each_once(toy_embedder_dir, encoded):
    first = embed(instructions(TEXTS), toy_embedder_dir)
    assert sorted(encoded) == sorted(set(TEXTS))
    encoded.clear()
    again = embed(instructions([*TEXTS, "Count the words."]), toy_embedder_dir)
    assert encoded == ["Count the words."]
    assert again["embedding"][:4] == first["embedding"][:]


def test_other_settings_and_no_cache_embed_again(toy_embedder_dir, encoded):
    embed(instructions(TEXTS), toy_embedder_dir)
    for settings in ({"max_length": 3}, {"cache": False}):
        encoded.clear()
        embed(instructions(TEXTS), toy_embedder_dir, **settings)
        assert len(encoded) == 3


def test_an_embedder_travels_and_halves_its_batches_when_memory_runs_out(toy_embedder_dir, monkeypatch):
    embedder = pickle.loads(pickle.dumps(Embedder(EmbedderSettings(str(toy_embedder_dir), "float32", "cpu"))))
    sizes, load = [], models.load_embedder

    def load_tight(*args):
        encoder = load(*args)
        encode = encoder.encode

        def tight(texts, batch_size, **kwargs):
            sizes.append(batch_size)
            if batch_size > 8:
                raise RuntimeError("CUDA out of memory")
            return encode(texts, batch_size=batch_size, **kwargs)

        encoder.encode = tight
        return encoder

    monkeypatch.setattr(models, "load_embedder", load_tight)
    vectors = embedder({"instruction": TEXTS})
    embedder({"instruction": TEXTS})
    assert sizes == [32, 16, 8, 8]
    assert (vectors.dtype, vectors.shape) == (np.float32, (4, 32))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_max_length_truncates_the_text(toy_embedder_dir):
    long, longer = TEXTS[0], TEXTS[0] + " Then print it."
    vectors = tables.array(embed(instructions([long, longer]), toy_embedder_dir, max_length=3), "embedding")
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_a_table_without_rows_is_refused(toy_embedder_dir):
    with pytest.raises(UserError, match="no rows to embed"):
        embed(instructions(TEXTS).select([]), toy_embedder_dir)


def test_clusters_are_the_blobs_and_reproducible():
    ds = in_blobs(30)
    labels = np.array(cluster(ds, k=3)["cluster"][:])
    assert labels.tolist() == cluster(ds, k=3)["cluster"][:]
    assert len({tuple(labels[start::3]) for start in range(3)}) == 3
    assert all(len(set(labels[start::3])) == 1 for start in range(3))


def test_clusters_are_those_of_the_papers_kmeans():
    from sklearn.cluster import KMeans

    ds = in_blobs(40)
    expected = KMeans(n_clusters=10, random_state=42).fit_predict(tables.array(ds, "embedding"))
    assert cluster(ds)["cluster"][:] == expected.tolist()


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (7, "k=7 is more than the 6 rows; give at most one cluster per row"),
        (0, "k=0 must be a whole number of at least 1"),
        (2.0, "k=2.0 must be a whole number of at least 1"),
    ],
)
def test_an_invalid_k_is_named(k, message):
    with pytest.raises(UserError, match=message):
        cluster(in_blobs(6), k=k)


@pytest.mark.parametrize("stage", [cluster, project])
def test_a_table_without_embeddings_is_refused(stage):
    with pytest.raises(UserError, match=r"column 'embedding' is missing.*make it with wb.embed first"):
        stage(instructions(TEXTS))


def test_a_map_has_two_float32_coordinates_and_is_cached(monkeypatch):
    calls = []

    def layout(vectors, settings):
        calls.append(settings)
        return (vectors[:, :2] * 2).astype(np.float32)

    monkeypatch.setattr(projection, "_umap", layout)
    ds = in_blobs(6)
    first = project(ds)
    assert [first.features[name].dtype for name in ("x", "y")] == ["float32", "float32"]
    np.testing.assert_array_equal(tables.array(first, "y"), tables.array(ds, "embedding")[:, 1] * 2)
    assert project(ds).to_dict() == first.to_dict()
    assert calls == [{"n_neighbors": 5, "min_dist": 0.1, "metric": "cosine", "random_state": 42}]
    for changed in ({"seed": 1}, {"min_dist": 0.5}, {"cache": False}):
        project(ds, **changed)
    project(ds.select(range(5)))
    assert len(calls) == 5


@pytest.mark.slow
def test_umap_lays_blobs_apart():
    ds = project(in_blobs(24), n_neighbors=5)
    points = np.stack([tables.array(ds, "x"), tables.array(ds, "y")], axis=1)
    centres = np.stack([points[start::3].mean(0) for start in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres[None], axis=2).argmin(1)
    np.testing.assert_array_equal(nearest, np.arange(24) % 3)


def test_a_map_needs_five_rows():
    with pytest.raises(UserError, match="a map needs at least 5 rows; the dataset has 4"):
        project(in_blobs(4))


def test_large_tables_are_placed_into_the_layout_of_a_sample(monkeypatch):
    monkeypatch.setattr(projection, "LIMIT", 40)
    monkeypatch.setattr(projection, "SAMPLE", 30)
    monkeypatch.setattr(projection, "_ROUND", 7)
    ds = project(in_blobs(60), n_neighbors=5)
    points = np.stack([tables.array(ds, "x"), tables.array(ds, "y")], axis=1)
    assert np.isfinite(points).all()
    centres = np.stack([points[start::3].mean(0) for start in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres[None], axis=2).argmin(1)
    np.testing.assert_array_equal(nearest, np.arange(60) % 3)
    noted = tables.noted(ds, "projection")
    assert (noted["rows"], noted["fitted_rows"]) == (60, 30)
    again = project(in_blobs(60), n_neighbors=5, cache=False)
    assert again["x"][:] == ds["x"][:]


def test_a_row_is_placed_at_the_median_of_its_nearest_rows():
    degrees = np.radians([0, 10, 20, 90, 11])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)
    points = np.array([[0, 0], [1, 8], [9, 2], [50, 50], [-1, -1]], np.float32)
    projection._place(vectors, np.arange(4), points, n_neighbors=3)
    assert points.tolist() == [[0, 0], [1, 8], [9, 2], [50, 50], [1, 2]]


@pytest.mark.parametrize("wrong", [[np.nan, 0.0], [3.0, 4.0], [0.0, 0.0]])
@pytest.mark.parametrize("stage", [cluster, project])
def test_vectors_that_are_not_of_unit_length_are_named(stage, wrong):
    ds = instructions(["a"] * 12).add_column("embedding", [[1.0, 0.0]] * 7 + [wrong] + [[0.0, 1.0]] * 4)
    with pytest.raises(UserError, match=r"column 'embedding', row 7: length (nan|5|0); vectors must be"):
        stage(ds)


def test_vectors_of_two_dimensions_are_refused():
    ds = instructions(["a"] * 2).add_column("embedding", [[1.0, 0.0], [1.0]])
    with pytest.raises(UserError, match="column 'embedding' does not hold vectors of one length"):
        cluster(ds, k=2)

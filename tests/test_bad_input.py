"""Common mistakes with the public functions: each raises an error whose message says how to fix it."""

import json
import re
import time

import datasets
import pandas as pd
import pytest
from huggingface_hub import constants

import workbench as wb

ROWS = [{"instruction": f"Return {n}.", "response": f"return {n}"} for n in range(6)]


def mistake(exception: type[Exception], *parts: str):
    """Assert that the block raises `exception` with all `parts` in its text, in this order."""
    return pytest.raises(exception, match=".*".join(map(re.escape, parts)))


@pytest.fixture
def file(tmp_path):
    """A valid JSONL file of `ROWS`."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def scored(file) -> datasets.Dataset:
    """`ROWS` with the columns of scoring, embedding and clustering."""
    ds = wb.load(file)
    for name, values in {
        "ifd": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        "n_tokens": [30, 40, 50, 60, 70, 80],
        "embedding": [[1.0, 0.0]] * 6,
        "cluster": [0, 0, 0, 1, 1, 1],
    }.items():
        ds = ds.add_column(name, values)
    return ds


def test_a_missing_file_suggests_a_similar_name(file):
    absent = file.with_name("row.jsonl")
    with mistake(FileNotFoundError, f"{absent} does not exist; did you mean {file}?"):
        wb.load(absent)


def test_a_wrong_column_name_lists_the_existing_columns(file):
    with mistake(ValueError, "answer", "instruction", "response"):
        wb.load(file, instruction="instruction", response="answer")


def test_unrecognized_columns_must_be_named():
    with mistake(ValueError, "it has 'x', 'y': name two of them with instruction= and response="):
        wb.load(pd.DataFrame([{"x": "Add.", "y": "a + b"}]))


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with mistake(ValueError, "empty.jsonl holds no rows; give a source with at least one"):
        wb.load(tmp_path / "empty.jsonl")


def test_a_truncated_line_is_reported_and_the_rest_is_loaded(file):
    lines = file.read_text().splitlines()
    lines[2] = lines[2][: len(lines[2]) // 2]
    file.write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"1 of 6 rows rejected; the first: line 3: not valid JSON"):
        ds = wb.load(file)
    assert ds["instruction"][:] == [row["instruction"] for row in ROWS if row is not ROWS[2]]
    (lost,) = wb.rejected(ds).to_dict("records")
    assert (lost["source"], lost["line"]) == (str(file), 3)
    assert lost["reason"].startswith("not valid JSON")
    assert lost["excerpt"] in lines[2]


@pytest.mark.parametrize("stage", [wb.score, wb.embed, wb.finetune, wb.evaluate])
def test_an_unknown_model_fails_within_seconds_if_the_hub_is_unreachable(stage, file, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with mistake(ValueError, "model='no/such' cannot be found", "hub: out of reach", "Give a local folder"):
        if stage is wb.evaluate:
            stage("no/such")
        elif stage is wb.finetune:
            stage(wb.load(file), model="no/such", output_dir=tmp_path / "run")
        else:
            stage(wb.load(file), model="no/such")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("ratio", [0, 1.5, -0.4, float("nan"), "0.4", True])
def test_a_ratio_outside_its_range_is_an_error(scored, ratio):
    with mistake(ValueError, f"ratio={ratio!r} must be above 0 and at most 1"):
        wb.select(scored, ratio=ratio)


@pytest.mark.parametrize("k", [7, 0, 2.5])
def test_an_impossible_number_of_clusters_is_an_error(scored, k):
    problem = (
        "is more than the 6 rows; give at most one" if k == 7 else "must be a whole number of at least 1"
    )
    with mistake(ValueError, f"k={k} {problem}"):
        wb.cluster(scored, k=k)


@pytest.mark.parametrize("lengths", ["table", "plain"])
def test_a_max_length_below_every_sample_is_an_error(scored, lengths):
    source = scored if lengths == "table" else [30, 40, 50, 60, 70, 80]
    with mistake(ValueError, "max_length=29 is shorter than every sample (the shortest has 30", "median, 55"):
        wb.pack(source, max_length=29)
    assert wb.pack(source, max_length=30).n_truncated == 5


def test_training_with_a_max_length_below_every_prompt_is_an_error(file, toy_model_dir, tmp_path):
    with mistake(ValueError, "none of the 6 rows has a response token within max_length=5"):
        wb.finetune(wb.load(file), toy_model_dir("llama"), tmp_path / "run", max_length=5)


def test_a_missing_column_names_the_stage_that_makes_it(file):
    for stage, maker in ((wb.cluster, "wb.embed"), (wb.select, "wb.score"), (wb.pack, "wb.score")):
        with mistake(ValueError, "is missing from the dataset", f"make it with {maker}"):
            stage(wb.load(file))


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("seed", lambda ds, seed: wb.select(ds, 0.5, seed=seed)),
        ("seed", lambda ds, seed: wb.select(ds, 0.5, "random", seed=seed)),
        ("seed", lambda ds, seed: wb.Explorer(ds, "random", seed=seed)),
        ("seed", lambda ds, seed: wb.compare(ds, ["random", "ifd-top"], 0.5, seed=seed)),
        ("seed", lambda ds, seed: wb.cluster(ds, 2, seed=seed)),
        ("seed", lambda ds, seed: wb.suggest_k(ds, seed=seed)),
        ("seed", lambda ds, seed: wb.project(ds, seed=seed)),
        ("seed", lambda ds, seed: wb.pack(ds, seed=seed)),
        ("seed", lambda ds, seed: wb.mark_duplicates(ds, seed=seed)),
        ("seed", lambda ds, seed: wb.compare_scorers(ds, "a", "b", seed=seed)),
        ("seed", lambda ds, seed: wb.evaluate("a", seed=seed)),
        ("seed", lambda ds, seed: wb.Recipe(seed=seed)),
        ("cluster_seed", lambda ds, seed: wb.Recipe(cluster_seed=seed)),
    ],
)
@pytest.mark.parametrize("seed", [-1, 0.5, 2**32])
def test_a_seed_out_of_range_is_named(scored, name, stage, seed):
    with mistake(ValueError, f"{name}={seed!r} must be a whole"):
        stage(scored, seed)


def test_the_largest_seed_can_be_drawn_with(scored):
    assert len(wb.compare(scored, ["random", "ifd-top"], 0.5, seed=2**32 - 1, draws=2).metrics)


@pytest.mark.parametrize(
    "stage",
    [
        lambda ds, model, device: wb.score(ds, model, device=device),
        lambda ds, model, device: wb.embed(ds, model, device=device),
        lambda ds, model, device: wb.explain(ds, 0, model, device=device),
        lambda ds, model, device: wb.evaluate(model, ds, device=device),
        lambda ds, model, device: wb.finetune(ds, model, device=device),
        lambda ds, model, device: wb.models.load_model(model, device=device),
    ],
    ids=["score", "embed", "explain", "evaluate", "finetune", "load_model"],
)
def test_a_device_that_is_unknown_or_absent_is_named(file, stage, toy_model_dir):
    for device, problem in {"gpu": "is not known", "cuda:99": "is not present"}.items():
        with mistake(ValueError, f"device={device!r} {problem}"):
            stage(wb.load(file), toy_model_dir("llama"), device)

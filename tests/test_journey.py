"""The whole method on one recipe: what it writes, and what a second run need not do."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import complexity, journey, projection, report
from workbench.errors import UserError
from workbench.recipe import QUICKSTART, Recipe
from workbench.training import TrainingSettings


@pytest.fixture(autouse=True)
def _map_without_umap(request, monkeypatch):
    """Two coordinates at once: UMAP, which compiles for half a minute, has tests of its own."""
    if not request.node.get_closest_marker("model"):
        monkeypatch.setattr(projection, "_umap", lambda vectors, settings: vectors[:, :2].astype(np.float32))


@pytest.fixture
def recipe(toy_model_dir, toy_embedder_dir) -> Recipe:
    model = str(toy_model_dir("llama"))
    training = TrainingSettings(max_length=512, batch_size=4, dtype="float32", device="cpu")
    return Recipe(
        rows=40,
        held_out=8,
        scorer=model,
        score_dtype="float32",
        embedder=str(toy_embedder_dir),
        k=3,
        max_ifd=2.0,  # a random model is not helped by instructions
        model=model,
        training=training,
        max_new_tokens=8,
        full=True,
    )


def travelled(recipe: Recipe, folder: Path) -> tuple[journey.Study, list[str]]:
    """The study, with its report written, and what it said."""
    said = []
    study = journey.travel(recipe, folder, say=said.append)
    report.write_html(study)
    return study, said


def strict_json(path: Path) -> dict:
    """Parsed, with NaN and Infinity refused as other readers do."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


class TestToyJourney:
    @pytest.fixture
    def study(self, recipe, tmp_path):
        return travelled(recipe, tmp_path / "study")[0]

    def test_files(self, study, recipe):
        names = {path.name for path in study.folder.iterdir()}
        assert names == {
            *("recipe.yaml", "scores.parquet", "selection.jsonl", "results.json", "report.html"),
            *("ifd-cluster", "random", "all-rows"),
            *(f"tasks-{name}.jsonl" for name in ("base", "ifd-cluster", "random", "all-rows")),
        }
        assert Recipe.from_yaml(study.folder / "recipe.yaml") == recipe
        assert len(pd.read_parquet(study.folder / "scores.parquet")) == 32
        kept = pd.read_json(study.folder / "selection.jsonl", lines=True)
        assert kept["id"].tolist() == study.selection.dataset["id"][:]
        for name in ("ifd-cluster", "random", "all-rows"):
            assert (study.folder / name / "model/model.safetensors").exists()
            assert (study.folder / name / "history.jsonl").read_text()
            assert len(pd.read_json(study.folder / f"tasks-{name}.jsonl", lines=True)) == 8

    def test_no_row_is_both_held_out_and_trained_on(self, study):
        held_out, pool = set(study.held_out["id"]), set(study.pool["id"])
        assert (len(held_out), len(pool)) == (8, 32)
        assert not held_out & pool

    def test_the_comparison(self, study):
        kept = study.selection.report.n_kept
        table = study.comparison.set_index("name")
        assert list(table.index) == ["base", "ifd-cluster", "random", "all rows"]
        assert table["rows"].tolist()[1:] == [kept, kept, 32]
        assert table["rows"].isna().tolist() == [True, False, False, False]
        assert table["loss"].notna().all()
        assert set(table["tasks"]) == {8}
        shown = report.comparison_table(study)
        assert shown.iloc[0].tolist()[:5] == ["base", "-", "-", "-", "-"]
        assert shown["rows"].tolist()[1:] == [str(kept), str(kept), "32"]
        assert set(shown["pass@1"]) <= {f"{n} of 8" for n in range(9)}

    def test_results_are_json_for_any_reader(self, study):
        results = strict_json(study.folder / "results.json")
        assert (results["rows"], results["held_out"]) == (32, 8)
        assert results["kept"] == study.selection.report.n_kept
        assert [line["name"] for line in results["models"]] == ["base", "ifd-cluster", "random", "all rows"]
        assert results["models"][0]["rows"] is None
        assert results["models"][3]["rows"] == 32
        assert set(results["padding"]) == {"max", "pad", "dynamic", "bfd"}
        assert results["agreement_with_bundled_scores"]["rows"] == 32
        assert not results["agreement_with_bundled_scores"]["same_model"]
        assert list(results["seconds"]) == ["load", "look", "choose", "pack", "tune_and_compare"]

    def test_the_report_needs_nothing_else(self, study):
        page = (study.folder / "report.html").read_text("utf-8")
        tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page)
        assert tags
        assert not [tag for tag in tags if re.search(r"\b(?:src|href)=", tag)]
        assert "@import" not in page.partition("</style>")[0]
        for name in ("base", "ifd-cluster", "random", "all rows"):
            assert f"<td>{name}</td>" in page

    def test_a_second_run_in_the_same_folder_scores_nothing(self, study, recipe, monkeypatch):
        def refuse(*_):
            raise AssertionError("scored again")

        monkeypatch.setattr(complexity, "_score_pairs", refuse)
        again, _ = travelled(replace(recipe, ratio=0.2, full=False), study.folder)
        assert again.pool["ifd"][:] == study.pool["ifd"][:]
        assert again.selection.report.n_kept < study.selection.report.n_kept
        assert list(again.reports) == ["base", "ifd-cluster", "random"]


def test_every_stage_says_what_it_found(recipe, tmp_path):
    _, said = travelled(replace(recipe, strategy="random", full=False), tmp_path)
    beginnings = (
        "40 of 344 rows",
        "scored: 32",
        "fresh scores",
        "kept 12 rows",
        "padding:",
        "base:",
        "random:",
    )
    assert len(said) == len(beginnings)
    for sentence, beginning in zip(said, beginnings, strict=True):
        assert sentence.startswith(beginning)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": None, "held_out": 344}, "held_out=344 leaves nothing of the 344 rows to train on"),
        ({"max_ifd": 0.001}, "ratio=0.4 keeps none of the 32 rows"),
        ({"k": 33}, "k=33 is more than the 32 rows"),
    ],
)
def test_recipes_that_leave_nothing(changes, message, recipe, tmp_path):
    with pytest.raises(UserError, match=message):
        journey.travel(replace(recipe, **changes), tmp_path, say=lambda _: None)


def test_a_model_that_diverged_still_gives_json(recipe, tmp_path, monkeypatch):
    held_out_loss = {"real": journey.evaluate}

    def diverged(*arguments, **settings):
        return replace(held_out_loss["real"](*arguments, **settings), loss_per_token=float("nan"))

    monkeypatch.setattr(journey, "evaluate", diverged)
    study, _ = travelled(replace(recipe, full=False), tmp_path)
    assert strict_json(study.folder / "results.json")["models"][1]["loss"] is None


def test_an_interrupt_stops_the_training(recipe, tmp_path, monkeypatch):
    started = []

    def wait(run):
        started.append(run)
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.training.Run.wait", wait)
    with pytest.raises(KeyboardInterrupt):
        travelled(recipe, tmp_path)
    (run,) = started
    run._thread.join()
    assert run.status == "stopped"


@pytest.mark.model
def test_quickstart_with_the_real_model(tmp_path):
    replace(QUICKSTART, rows=60, held_out=12, max_new_tokens=32).to_yaml(tmp_path / "short.yaml")
    arguments = ["quickstart", "--recipe", str(tmp_path / "short.yaml"), "--rows", "60"]

    def run(*more: str) -> str:
        command = [sys.executable, "-c", "import sys; from workbench.cli import main; main(sys.argv[1:])"]
        done = subprocess.run([*command, *arguments, *more], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    out = run()
    header = next(line for line in out.splitlines() if "held-out loss" in line)
    columns = ["rows", "tokens", "training", "peak memory", "held-out loss", "pass@1"]
    assert re.split(r"\s{2,}", header.strip()) == columns

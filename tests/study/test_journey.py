"""The quickstart on a toy model: its files, its report, and what a second run takes from the cache."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench
from workbench import cli
from workbench.complexity import engine
from workbench.core.errors import UserError
from workbench.evaluation import EvalReport
from workbench.lm import models
from workbench.space import projection
from workbench.study import journey, report
from workbench.study.presets import QUICKSTART
from workbench.study.recipe import Recipe
from workbench.training import Run, TrainingSettings


@pytest.fixture(scope="module")
def recipe(toy_model_dir, toy_embedder_dir) -> Recipe:
    model = str(toy_model_dir("llama"))
    return Recipe(
        rows=40,
        held_out=8,
        scorer=model,
        score_dtype="float32",
        embedder=str(toy_embedder_dir),
        k=3,
        max_ifd=2.0,  # instructions do not help a random model
        model=model,
        training=TrainingSettings(max_length=512, batch_size=4, dtype="float32", device="cpu"),
        max_new_tokens=8,
        full=True,
    )


def _no_umap(monkeypatch) -> None:
    """Replace UMAP, which compiles for half a minute and has tests of its own."""
    monkeypatch.setattr(projection, "_umap", lambda vectors, settings: vectors[:, :2].astype(np.float32))


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """What the journey of `study` reported."""
    return []


@pytest.fixture(scope="module")
def study(recipe, sentences, tmp_path_factory) -> journey.Study:
    """A quickstart that the tests share, with its cache next to its folder."""
    home = tmp_path_factory.mktemp("journey")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_CACHE", str(home / "cache"))
        _no_umap(patch)
        finished = journey.travel(recipe, home / "study", say=sentences.append)
    report.write_html(finished)
    return finished


def strict_json(path: Path) -> dict:
    """Parse JSON and refuse NaN and Infinity, as other readers do."""

    def refuse(name):
        raise AssertionError(f"{name} is not valid JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.slow
@pytest.mark.xdist_group("journey")
class TestToyJourney:
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

    def test_results_are_valid_json(self, study):
        results = strict_json(study.folder / "results.json")
        assert (results["rows"], results["held_out"]) == (32, 8)
        assert results["kept"] == study.selection.report.n_kept
        assert [line["name"] for line in results["models"]] == ["base", "ifd-cluster", "random", "all rows"]
        assert results["models"][0]["rows"] is None
        assert results["models"][3]["rows"] == 32
        coverage = results["coverage"]
        assert coverage["mmd"]["ifd-cluster"] == pytest.approx(study.selection.coverage.mmd)
        assert coverage["n_kept"]["random median"] == results["kept"]
        assert coverage["radius"]["random 5 %"] <= coverage["radius"]["random 95 %"]
        assert set(results["padding"]) == {"max", "pad", "dynamic", "balanced", "flat", "bfd", "exact"}
        assert results["agreement_with_bundled_scores"]["rows"] == 32
        assert not results["agreement_with_bundled_scores"]["same_model"]
        assert list(results["seconds"]) == ["load", "score", "select", "pack", "finetune"]

    def test_the_report_is_self_contained(self, study):
        page = (study.folder / "report.html").read_text("utf-8")
        tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page)
        assert tags
        assert not [tag for tag in tags if re.search(r"\b(?:src|href)=", tag)]
        assert "@import" not in page.partition("</style>")[0]
        for name in ("base", "ifd-cluster", "random", "all rows"):
            assert f"<td>{name}</td>" in page
        assert f"<td>{study.selection.coverage.radius:.3f}</td>" in page

    def test_the_report_shows_coverage_beside_random_draws(self, study):
        shown = report.coverage_table(study).set_index("")
        assert list(shown.columns) == ["ifd-cluster", "random"]
        assert shown.loc["maximum mean discrepancy", "ifd-cluster"] == f"{study.selection.coverage.mmd:.4f}"
        low, high = study.coverage.loc["mmd", ["random 5 %", "random 95 %"]]
        assert shown.loc["maximum mean discrepancy", "random"] == f"{low:.4f} to {high:.4f}"
        assert not shown.isin(["nan", "nan to nan"]).to_numpy().any()

    def test_every_stage_reports_a_sentence(self, study, sentences):
        beginnings = [
            "40 of 344 rows",
            "scored: ",
            "new scores",
            "kept ",
            "coverage: mmd ",
            "padding: max ",
        ]
        beginnings += ["base: loss", "ifd-cluster: loss", "random: loss", "all rows: loss"]
        for sentence, beginning in zip(sentences, beginnings, strict=True):
            assert sentence.startswith(beginning)

    def test_a_second_run_in_the_same_folder_scores_nothing(self, study, recipe, monkeypatch):
        monkeypatch.setenv("WORKBENCH_CACHE", str(study.folder.parent / "cache"))
        for module, name in ((engine.Engine, "__call__"), (models, "load_embedder"), (projection, "_umap")):
            monkeypatch.setattr(module, name, _refuse)
        changed = replace(recipe, strategy="random", ratio=0.2, full=False)
        again = journey.travel(changed, study.folder, say=_silent)
        assert again.pool["ifd"][:] == study.pool["ifd"][:]
        assert again.selection.report.n_kept == 6
        assert list(again.reports) == ["base", "random"]
        assert len(strict_json(study.folder / "results.json")["models"]) == 2
        assert report.write_html(again).exists()


def _refuse(*_, **__):
    raise AssertionError("computed again")


def _silent(_) -> None:
    pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": None, "held_out": 344}, "held_out=344 leaves none of the 344 rows to train on"),
        ({"max_ifd": 0.001}, "ratio=0.4 keeps none of the 32 rows"),
        ({"k": 33}, "k=33 is more than the 32 rows"),
    ],
)
def test_recipes_that_leave_no_rows_are_errors(changes, message, recipe, tmp_path, monkeypatch):
    _no_umap(monkeypatch)
    with pytest.raises(UserError, match=message):
        journey.travel(replace(recipe, **changes), tmp_path, say=_silent)


def test_a_diverged_model_still_gives_valid_json(recipe, tmp_path):
    study = journey.Study(recipe, tmp_path, pool=[], held_out=[])
    study.reports["base"] = EvalReport("m", "own tasks", pd.DataFrame({"base": ["fail"]}), float("nan"))
    journey._write_results(study)
    assert strict_json(tmp_path / "results.json")["models"][0]["loss"] is None


def test_an_interrupt_stops_the_training(study, tmp_path, monkeypatch):
    def interrupted(run):
        waited_for.append(run)
        raise KeyboardInterrupt

    waited_for = []
    monkeypatch.setattr(journey, "evaluate", lambda *_, **__: study.reports["base"])
    started = replace(study, folder=tmp_path, runs={}, reports={})
    with monkeypatch.context() as patch:
        patch.setattr(Run, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journey._finetune(started, _silent)
    (run,) = waited_for
    assert run.wait().status == "stopped"


@pytest.mark.model
@pytest.mark.timeout(900)
def test_quickstart_with_the_real_model(tmp_path, monkeypatch):
    short = tmp_path / "short.yaml"
    replace(QUICKSTART, held_out=6, max_new_tokens=16).to_yaml(short)
    arguments = ["quickstart", "--recipe", str(short), "--rows", "30", "--output", str(tmp_path / "study")]
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(workbench.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    header = next(i for i, line in enumerate(lines) if "held-out loss" in line)
    assert " ".join(lines[header].split()) == "rows tokens training peak memory held-out loss pass@1"
    named = [line.split()[0] for line in lines[header + 1 : header + 4]]
    assert named == ["base", "ifd-cluster", "random"]
    assert strict_json(tmp_path / "study/results.json")["agreement_with_bundled_scores"]["spearman"] > 0.9
    assert (tmp_path / "study/report.html").exists()

    class Scored(Exception):
        pass

    def scored(study, say):
        assert study.pool["score_status"][:] == ["ok"] * 24
        raise Scored

    monkeypatch.setattr(engine.Engine, "__call__", _refuse)
    monkeypatch.setattr(journey, "_select", scored)  # later stages are not cached
    with pytest.raises(Scored):
        cli.main(arguments)

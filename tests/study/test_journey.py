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
from workbench.study import journey, measuring, report
from workbench.study.presets import QUICKSTART
from workbench.study.recipe import Recipe
from workbench.training import Run, TrainingSettings

MODELS = ["base", "ifd-cluster", "random", "random-tokens", "all rows"]


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


def sets_of(study: journey.Study) -> dict:
    return journey._training_sets(study)


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
            *("ifd-cluster", "random", "random-tokens", "all-rows"),
            *(f"tasks-{name.replace(' ', '-')}.jsonl" for name in MODELS),
        }
        assert Recipe.from_yaml(study.folder / "recipe.yaml") == recipe
        assert len(pd.read_parquet(study.folder / "scores.parquet")) == 32
        kept = pd.read_json(study.folder / "selection.jsonl", lines=True)
        assert kept["id"].tolist() == study.selection.dataset["id"][:]
        for name in ("ifd-cluster", "random", "random-tokens", "all-rows"):
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
        assert list(table.index) == MODELS
        assert table["rows"].tolist()[1:3] == [kept, kept]
        assert table["rows"]["all rows"] == 32
        assert table["rows"].isna().tolist() == [True, *[False] * 4]
        assert table[["loss", "preference", "margin"]].notna().all().all()
        assert table["passed"].isna().all()  # a random model solves no task
        assert set(table["tasks"]) == {8}
        lengths = dict(zip(study.pool["id"][:], study.pool["n_tokens"][:], strict=True))
        tokens = {name: sum(lengths[row] for row in rows["id"][:]) for name, rows in sets_of(study).items()}
        assert 0.7 * tokens["ifd-cluster"] < tokens["random-tokens"] <= tokens["ifd-cluster"]
        assert sets_of(study)["random"]["id"][:] != sets_of(study)["random-tokens"]["id"][:]
        shown = report.comparison_table(study)
        assert shown.iloc[0].tolist()[:5] == ["base", "-", "-", "-", "-"]
        assert shown["rows"].tolist()[1:3] == [str(kept), str(kept)]
        assert list(shown)[-3:] == ["held-out loss", "preference", "margin"]

    def test_the_differences_are_paired_by_row(self, study):
        table = study.differences
        assert table["first"].unique().tolist() == ["base", "random", "random-tokens", "all rows"]
        assert set(table["second"]) == {"ifd-cluster"}
        row = table[(table["first"] == "random") & (table["measure"] == "loss")].iloc[0]
        ours, random = (study.reports[name] for name in ("ifd-cluster", "random"))
        assert row["difference"] == pytest.approx(ours.loss_per_token - random.loss_per_token)
        assert row["low"] < row["difference"] < row["high"]
        assert "ifd-cluster - random" in report.differences_table(study)[""].tolist()
        assert study.verdict.startswith("ifd-cluster: against random ")
        assert "against random-tokens" in study.verdict

    def test_results_are_valid_json(self, study):
        results = strict_json(study.folder / "results.json")
        assert (results["rows"], results["held_out"]) == (32, 8)
        assert results["kept"] == study.selection.report.n_kept
        assert [line["name"] for line in results["models"]] == MODELS
        assert results["verdict"] == study.verdict
        assert {line["first"] for line in results["differences"]} == {*MODELS} - {"ifd-cluster"}
        assert results["models"][0]["rows"] is None
        assert results["models"][4]["rows"] == 32
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
        for name in MODELS:
            assert f"<td>{name}</td>" in page
        assert study.verdict in page
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
        beginnings += ["pass@1 is not measured: ", *(f"{name}: loss" for name in MODELS)]
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


def differences(**rows) -> pd.DataFrame:
    """A table of differences: `measure_arm` -> (difference, half of the interval, p-value)."""
    table = []
    for name, (difference, half, p_value) in rows.items():
        measure, arm = name.split("_")
        numbers = (difference, difference - half, difference + half, p_value, half)
        table.append((f"random{arm}", "ifd-cluster", measure, *numbers))
    return pd.DataFrame(table, columns=measuring.COLUMNS)


class TestVerdict:
    def test_names_what_differs_and_in_which_direction(self):
        table = differences(loss_=(-0.02, 0.01, 0.001), margin_=(-0.3, 0.1, 0.002), loss_2=(0.0, 0.01, 0.9))
        assert measuring.verdict(table, "ifd-cluster") == (
            "ifd-cluster: against random a better loss (-0.0200 nats/token, 95 %: -0.0300 to -0.0100) and a "
            "worse margin (-0.300 nats, 95 %: -0.400 to -0.200); against random2 no difference is shown "
            "(these rows can show 0.01 nats/token of loss). One training each: another seed may change this."
        )

    def test_corrects_for_the_number_of_comparisons(self):
        table = differences(loss_=(-0.02, 0.01, 0.03), margin_=(0.3, 0.1, 0.04))
        assert "against random no difference is shown (these rows can show 0.01 nats/token of loss or" in (
            measuring.verdict(table, "ifd-cluster")
        )

    def test_without_random_rows(self):
        assert measuring.verdict(differences(), "random") == "no random rows to compare random with"


class TestMeasures:
    @pytest.fixture
    def asked(self, monkeypatch) -> list:
        """The rows and tokens of each probe, of which 1 task passes."""
        probes = []

        def probe(recipe, model, rows, measures, max_new_tokens):
            probes.append((rows["id"][:], measures, max_new_tokens))
            verdicts = ["pass", *["fail"] * (len(rows) - 1)]
            return EvalReport("m", "b", pd.DataFrame({"task_id": rows["id"][:], "base": verdicts}))

        monkeypatch.setattr(measuring, "evaluate_on", probe)
        return probes

    def test_a_model_that_solves_an_easy_task_is_asked_for_all(self, recipe, asked):
        rows = workbench.load("bundled", limit=12)
        measures, sentence = measuring.measures_of(replace(recipe, max_new_tokens=300), rows)
        assert measures == ("loss", "preference", "pass")
        assert sentence.endswith("solves 1 of the 4 easiest held-out tasks")
        shortest = sorted(range(12), key=lambda row: len(rows["response"][row]))[:4]
        assert asked == [([rows["id"][row] for row in sorted(shortest)], ("pass",), 128)]

    def test_rows_without_tests_are_not_probed(self, recipe, asked):
        rows = workbench.load("bundled", limit=4).remove_columns("check")
        measures, sentence = measuring.measures_of(recipe, rows)
        assert (measures, asked) == (("loss", "preference"), [])
        assert "the rows have no tests" in sentence

    def test_rows_without_twins_have_a_loss(self, recipe, asked):
        rows = workbench.load(pd.DataFrame({"instruction": ["Greet."], "response": ["'hi'"]}))
        assert measuring.measures_of(recipe, rows)[0] == ("loss",)


@pytest.mark.slow
def test_an_interrupt_stops_the_training(study, tmp_path, monkeypatch):
    def interrupted(run):
        waited_for.append(run)
        raise KeyboardInterrupt

    waited_for = []
    monkeypatch.setattr(journey.measuring, "evaluate", lambda *_, **__: study.reports["base"])
    monkeypatch.setattr(journey.measuring, "measures_of", lambda *_: (("loss",), "not measured"))
    started = replace(study, folder=tmp_path, runs={}, reports={})
    with monkeypatch.context() as patch:
        patch.setattr(Run, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journey._finetune(started, _silent)
    (run,) = waited_for
    assert run.wait().status == "stopped"


@pytest.mark.model
@pytest.mark.xdist_group("model")
@pytest.mark.timeout(1800)  # on a slow machine
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
    assert (
        " ".join(lines[header].split()) == "rows tokens training peak memory held-out loss preference margin"
    )
    named = [line.split()[0] for line in lines[header + 1 : header + 5]]
    assert named == ["base", "ifd-cluster", "random", "random-tokens"]
    assert any(line.startswith("verdict: ifd-cluster: against random ") for line in lines)
    results = strict_json(tmp_path / "study/results.json")
    assert results["agreement_with_bundled_scores"]["spearman"] > 0.9
    assert results["models"][0]["preference"] > 0.5  # about 0.9 on 40 tasks
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

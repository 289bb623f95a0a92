"""`workbench sweep`: one command from a recipe to a verdict, which resumes, and its report."""

import re
from dataclasses import replace

import pytest
from sweeps import FAST

import workbench as wb
from workbench import cli
from workbench.core.errors import UserError
from workbench.evidence import Design
from workbench.study import sweep_report
from workbench.study.recipe import Recipe
from workbench.training import TrainingSettings


@pytest.fixture(scope="module")
def recipe(toy_model_dir, toy_embedder_dir) -> Recipe:
    model = str(toy_model_dir("llama"))
    return Recipe(
        rows=40,
        held_out=6,
        scorer=model,
        score_dtype="float32",
        embedder=str(toy_embedder_dir),
        k=2,
        max_ifd=2.0,
        model=model,
        training=TrainingSettings(**FAST | {"max_length": 256}),
        sweep=Design(ratios=(0.5, 1.0), seeds=2, budget="tokens"),
    )


@pytest.mark.slow
def test_the_command_sweeps_reports_and_resumes(recipe, tmp_path, capsys):
    recipe.to_yaml(tmp_path / "recipe.yaml")
    command = ["sweep", "--recipe", str(tmp_path / "recipe.yaml"), "--output", str(tmp_path / "sweep")]
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    sweep = wb.Sweep(tmp_path / "sweep")
    n = sweep.progress["cells"]
    assert len(sweep.table) == 10
    assert printed.count(") done: loss") == n
    assert re.search(r"ifd-cluster, at 50 %: .* than all rows|ifd-cluster, at 50 %: no difference", printed)
    assert "no best ratio is named: loss alone was measured" in printed
    page = (tmp_path / "sweep" / "report.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "All cells train on as many tokens." in page
    assert page.count("Plotly.newPlot") == 1
    assert "random-tokens" in page

    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert ended.value.code == 0
    assert ") done: loss" not in capsys.readouterr().out
    cli.main(["status", str(tmp_path / "sweep")])
    assert f"done, {n} of {n} cells" in capsys.readouterr().out
    assert len(sweep_report.means(sweep)) == 4


def test_a_recipe_with_a_sweep_is_read_as_written(recipe, tmp_path):
    own = replace(
        recipe, sweep=Design(seeds={"ifd-cluster": 5}, learning_rates=(1e-4, 1e-6), tasks=("held-out",))
    )
    own.to_yaml(tmp_path / "recipe.yaml")
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == own
    (tmp_path / "recipe.yaml").write_text("sweep: {ratios: [1, 0.5], learning_rates: [5e-4]}")
    assert Recipe.from_yaml(tmp_path / "recipe.yaml").sweep == Design(
        ratios=(1.0, 0.5), learning_rates=(5e-4,)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sweep: {ratio: 0.4}", "recipe.yaml: sweep: 'ratio' is not a setting; the settings are ratios, "),
        ("sweep: {ratios: 0.4}", "recipe.yaml: sweep: ratios=0.4 must be of type list"),
        ("sweep: {ratios: [much]}", "recipe.yaml: sweep: ratios='much' must be of type float"),
        (
            "sweep: {tasks: [humaneval2]}",
            "tasks='humaneval2' is not known; choose one of bundled, held-out, ",
        ),
    ],
)
def test_a_wrong_setting_of_a_sweep_is_named(tmp_path, text, message):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        Recipe.from_yaml(tmp_path / "recipe.yaml")

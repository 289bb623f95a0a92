"""A machine that cannot confine code, e.g. a Mac: all but the verdicts is measured."""

from dataclasses import replace
from types import SimpleNamespace

import datasets
import pytest

from workbench import cli, data
from workbench.core.errors import UserError
from workbench.evaluation import SandboxError, evaluate, heldout_loss, twins
from workbench.evaluation.sandbox import run
from workbench.lm import models
from workbench.study.presets import QUICKSTART

WHY = "code that a model wrote is not run here: .*has no seccomp filter"
ON_CPU = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(autouse=True)
def unconfined(monkeypatch):
    monkeypatch.setattr(run, "sys", SimpleNamespace(platform="darwin"))
    run.level.cache_clear()
    yield
    run.level.cache_clear()


@pytest.fixture(scope="module")
def tasks() -> datasets.Dataset:
    return data.load("bundled").select(range(4))


@pytest.fixture
def model(toy_model_dir) -> str:
    return str(toy_model_dir("llama"))


def test_the_loss_comes_without_verdicts(model, tasks):
    report = evaluate(model, tasks, **ON_CPU)
    loaded = models.load_model(model, "float32", "cpu")
    assert report.loss_per_token == pytest.approx(heldout_loss(*loaded, tasks), rel=1e-6)
    assert not report.has_pass
    (problem,) = report.problems
    assert problem.startswith("pass was not measured: code that a model wrote is not run here")
    assert problem in report.notes


def test_preference_comes_from_twins_that_no_test_has_judged(model, tasks):
    table = twins(tasks)
    assert len(table) > 4
    assert not any(table["verified"][:])
    report = evaluate(model, tasks, measures=("loss", "preference", "pass"), **ON_CPU)
    assert 0 <= report.preference <= 1
    assert list(report.measures.index) == ["loss", "preference", "margin"]


def test_unverified_twins_are_not_kept_for_another_machine(tasks, monkeypatch):
    twins(tasks)
    monkeypatch.undo()
    run.level.cache_clear()
    try:
        run.level()
    except SandboxError as error:
        pytest.skip(str(error))
    assert all(twins(tasks)["verified"][:])


@pytest.mark.parametrize("arguments", [{"measures": "pass"}, {"measures": ("pass",), "limit": 1}])
def test_verdicts_alone_are_refused_in_one_sentence(model, tasks, arguments):
    with pytest.raises(SandboxError, match=WHY):
        evaluate(model, tasks, **arguments)


def test_a_run_with_verdicts_during_training_is_refused_at_once(model, tasks, tmp_path):
    from workbench.training import finetune

    with pytest.raises(UserError, match=WHY):
        finetune(tasks, model, tmp_path / "run", heldout=tasks, eval_steps=1, eval_tasks=2)


@pytest.mark.slow
def test_the_quickstart_ends_with_its_report(model, toy_embedder_dir, tmp_path, capsys):
    small = {"rows": 24, "held_out": 6, "k": 2, "embedder": str(toy_embedder_dir)}
    training = replace(QUICKSTART.training, max_length=256, dtype="float32", device="cpu")
    recipe = replace(QUICKSTART, model=model, scorer=model, training=training, **small)
    recipe.to_yaml(tmp_path / "recipe.yaml")
    options = ["--recipe", str(tmp_path / "recipe.yaml"), "--output", str(tmp_path / "study")]
    cli.main(["quickstart", *options])
    lines = capsys.readouterr().out.splitlines()
    assert sum("pass@1 is not measured: code that a model wrote" in line for line in lines) == 1
    assert any(line.startswith("base: loss ") and "preference" in line for line in lines)
    assert (tmp_path / "study" / "report.html").exists()
    assert (tmp_path / "study" / "random" / "model").exists()

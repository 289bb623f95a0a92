"""A finished run is known again by its rows, model and settings; waiting for a run shows its start."""

import os
import shutil
import time

import pytest
from trainings import DS, FAST

from workbench.core import progress
from workbench.training import Run, finetune, job
from workbench.training import folder as folders
from workbench.training.folder import RunFolder, pass_recorder
from workbench.training.run import finished


@pytest.fixture(scope="module")
def model(toy_model_dir, tmp_path_factory):
    return shutil.copytree(toy_model_dir("llama"), tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return finetune(DS, model, folder, **FAST, heldout=DS, eval_steps=9).wait()


def test_the_same_training_is_known_again(run, model):
    same = finished(DS, model, run.output_dir, DS, **FAST, eval_steps=9)
    assert (same.output_dir, same.history) == (run.output_dir, run.history)


def test_another_training_is_not(run, model, tmp_path):
    folder, settings = run.output_dir, FAST | {"eval_steps": 9}
    assert finished(DS.select(range(4)), model, folder, DS, **settings) is None
    assert finished(DS, model, folder, DS.select(range(4)), **settings) is None
    assert finished(DS, model, folder, **settings) is None
    assert finished(DS, model, folder, DS, **settings | {"seed": 1}) is None
    assert finished(DS, model, tmp_path / "nothing", DS, **settings) is None


def test_a_model_that_has_changed_is_another(run, model):
    assert finished(DS, model, run.output_dir, DS, **FAST, eval_steps=9)
    later = time.time() + 60
    os.utime(model / "config.json", (later, later))
    assert finished(DS, model, run.output_dir, DS, **FAST, eval_steps=9) is None


def test_waiting_shows_the_loading_and_then_the_first_step(model, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WORKBENCH_QUIET")
    finetune(DS, model, tmp_path / "shown", **FAST | {"batch_size": 2}).wait()
    shown = capsys.readouterr().err
    assert "train shown" in shown
    assert "loading the model" in shown
    assert "loss " in shown


def test_the_bar_moves_within_a_step_and_says_how_long_it_has_run(model, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WORKBENCH_QUIET")
    monkeypatch.setattr(folders, "_INTERVAL", 0)
    folder = RunFolder(tmp_path / "shown")
    folder.path.mkdir()
    bar, record = progress.bar(None, "train"), pass_recorder(folder)
    bar.mininterval = 0
    for done in (0.0, 0.25):
        record(done, 8)
        with monkeypatch.context() as patch:
            later = time.time() + 5
            patch.setattr(time, "time", lambda later=later: later)
            Run(folder.path)._show(bar)
    shown = capsys.readouterr().err
    assert "0.0/8" in shown
    assert "0.25/8" in shown
    assert "step 1 for 5 s" in shown


def test_a_run_reports_each_pass_and_its_own_memory(model, tmp_path, monkeypatch):
    passes = []
    monkeypatch.setattr(job, "pass_recorder", lambda folder: lambda *request: passes.append(request))
    run = finetune(DS, model, tmp_path / "run", **FAST | {"batch_size": 2, "accumulation": 2}).wait()
    assert passes == [(0, 2), (0.5, 2), (1, 2), (1.5, 2)]
    assert not RunFolder(run.output_dir).progress_file.exists()
    # The process holds far more than the training of a toy takes.
    assert run.history[-1]["peak_memory_mib"] <= run.summary["peak_memory_mib"]
    assert run.summary["peak_memory_mib"] < run.summary["memory_before_mib"]

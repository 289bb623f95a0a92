"""Sweeps of a toy model: cells, budgets, what they share, and how they end and go on."""

import json
import os
import random
import re
import signal
import time

import detached
import numpy as np
import pandas as pd
import pytest
import torch
from sweeps import DESIGN, FAST, N, rows
from trainings import until

import workbench as wb
from workbench.core.errors import UserError
from workbench.evidence import cells, work
from workbench.evidence.folder import SweepFolder
from workbench.lm import models
from workbench.training import TrainingSettings
from workbench.training.folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sweep")]  # one worker makes what the tests share


@pytest.fixture(scope="module")
def start(toy_model_dir):
    """Return a function that starts a sweep in a thread."""

    def start(folder, **arguments):
        arguments = {"detached": False} | DESIGN | FAST | arguments
        return wb.sweep(rows(), rows(6, 100), toy_model_dir("llama"), folder, **arguments)

    return start


@pytest.fixture(scope="module")
def done(start, tmp_path_factory):
    """A finished sweep that the tests share."""
    return start(tmp_path_factory.mktemp("sweep"), budget="rows-epochs").wait()


def test_a_sweep_has_a_row_for_each_cell(done):
    table = done.table
    assert done.status == "done"
    assert len(table) == 12
    assert table[["loss", "tokens", "steps", "epochs", "n_rows", "seconds"]].notna().all().all()
    assert table[["preference", "margin", "task_loss"]].isna().all().all()
    assert set(table["status"]) == {"done"}
    assert table["arm"].value_counts().to_dict() == dict.fromkeys(
        ["all rows", "ifd-cluster", "random", "random-tokens"], 3
    )
    everything = table[table["arm"] == "all rows"]
    assert set(everything["n_rows"]) == {N}
    assert everything["seed"].tolist() == [0, 1, 2]
    assert done.progress == {"cells": 12, "done": 12, "seconds": done.progress["seconds"], "seconds_left": 0}


def test_arms_have_equal_rows_or_equal_tokens(done):
    folder = SweepFolder(done.output_dir)
    _, plan = folder.read_plan()
    lengths, ifd = np.array(rows()["n_tokens"]), np.array(rows()["ifd"])
    first = plan.rows[next(cell.rows for cell in plan.cells if cell.arm == "ifd-cluster")]
    assert first.tolist() == wb.select(rows(), 0.4).indices.tolist()
    for cell in plan.cells:
        own = plan.rows[cell.rows]
        if cell.arm == "random":
            assert len(own) == len(first)
        if cell.arm == "random-tokens":
            assert 0 <= lengths[first].sum() - lengths[own].sum() <= lengths.max()
    assert len({cell.rows for cell in plan.cells if cell.arm == "random"}) == 3
    assert ifd[first].mean() > ifd.mean()


def test_the_models_differ_and_the_base_is_measured(done):
    losses = done.table["loss"]
    assert losses.nunique() == 12
    assert (losses < done.base["loss"].item()).all()
    assert len(done.comparisons) == 3
    assert done.verdict[-1].startswith("no best ratio is named: loss alone")
    assert len(done.figure().data) == 3


def test_the_models_and_samples_of_finished_cells_are_removed(done):
    for run in (done.output_dir / "runs").iterdir():
        assert {path.name for path in run.iterdir()} == {"run.json", "history.jsonl", "run.log"}


@pytest.mark.parametrize(("budget", "column"), [("tokens", "tokens"), ("steps", "steps")])
def test_budgets_are_equal_to_within_a_step(start, tmp_path, monkeypatch, budget, column):
    monkeypatch.setattr(work, "start", lambda *_: None)
    table = start(tmp_path, budget=budget, ratios=(0.1, 0.3, 1.0), epochs=2).table
    samples = table["n_rows"] * table["epochs"]
    step = {"tokens": table["tokens"] / table["steps"], "steps": 0.5}[budget]
    assert (abs(table[column] - table.loc[0, column]) <= step).all()
    assert (samples >= N).all()  # a step that ends an epoch has fewer samples
    assert not table.equals(start(tmp_path / "other", budget="epochs", ratios=(0.1, 1.0)).table)


def test_with_the_budget_rows_epochs_all_see_as_many_samples(start, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "start", lambda *_: None)
    table = start(tmp_path, ratios=(0.1, 0.25, 1.0), epochs=2, accumulation=2).table
    assert (abs(table["n_rows"] * table["epochs"] - 2 * N) <= 4).all()  # half a step of 8
    table = start(tmp_path, ratios=(0.1, 0.25, 1.0), epochs=2, budget="epochs").table
    assert set(table["epochs"]) == {2}


def test_settings_of_the_selection_reach_the_strategies_that_read_them(start, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "start", lambda *_: None)
    settings = {"by": "n_tokens", "lower": 0.1, "upper": 0.6}
    start(tmp_path, ratios=(0.4,), strategies=("ifd-band", "cluster-random"), selection=settings)
    _, plan = SweepFolder(tmp_path).read_plan()
    band = next(plan.rows[cell.rows] for cell in plan.cells if cell.arm == "ifd-band")
    assert band.tolist() == wb.select(rows(), 0.4, "ifd-band", **settings).indices.tolist()
    assert {cell.n_rows for cell in plan.cells if cell.arm == "cluster-random"} == {len(band)}


def test_max_steps_sets_the_budget_of_all_rows(start, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "start", lambda *_: None)
    assert set(start(tmp_path, max_steps=7, budget="steps").table["steps"]) == {7}


def test_equal_rows_and_settings_are_one_cell(start, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "start", lambda *_: None)
    before = start(tmp_path / "one").table
    again = start(tmp_path / "two", strategies=("ifd-top", "ifd-cluster"), seeds={"ifd-cluster": 5}).table
    common = set(before["key"]) & set(again["key"])
    assert len(common) >= 3  # at least those on all rows
    other = start(tmp_path / "three", learning_rates=(1e-2, 1e-3)).table
    assert set(before["key"]) < set(other["key"])
    assert len(other) == 24
    same_rows = start(tmp_path / "four", strategies=("random",), ratios=(0.5,)).table
    assert same_rows["key"].nunique() < len(same_rows)  # random rows, and random rows of as many tokens


def test_a_larger_design_trains_only_new_cells(done, start, monkeypatch):
    trained, run = [], cells.Bench.run
    monkeypatch.setattr(cells.Bench, "run", lambda *args: trained.append(args[1].key) or run(*args))
    before = done.table
    more = start(done.output_dir, seeds=4).wait()
    assert len(more.table) == 16
    assert len(trained) == 4
    assert not set(trained) & set(before["key"])
    start(done.output_dir).wait()
    assert len(trained) == 4


def test_shared_work_is_done_once(start, tmp_path, monkeypatch):
    tokenized, calls = cells.tokenized, []
    monkeypatch.setattr(cells, "tokenized", lambda *args: calls.append(1) or tokenized(*args))
    start(tmp_path, ratios=(0.4,), seeds=1).wait()
    assert calls == [1]


def test_a_stopped_sweep_continues(start, tmp_path):
    sweep = start(tmp_path, ratios=(1.0,), epochs=20)
    until(lambda: sweep.progress["done"] == 1)
    sweep.stop()
    assert sweep.status == "stopped"
    assert sweep.progress["done"] < 3
    assert sweep.progress["seconds_left"] > 0
    opened = wb.Sweep(tmp_path)
    assert opened.resume(detached=False).status == "running"
    assert opened.wait().status == "done"


def spawn(folder: SweepFolder) -> int:
    """Replace `work._spawn`: fork a process that has imported everything already."""
    child = detached._server.Process(target=_work, args=(folder.path, dict(os.environ)), daemon=True)
    child.start()
    return child.pid


def _work(path, environment: dict) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    os._exit(work.main(path))


def finished(folder) -> dict[str, tuple[int, str]]:
    """The files of finished cells, with the times at which they were written."""
    return {path.name: (path.stat().st_mtime_ns, path.read_text()) for path in folder.glob("cells/*.json")}


@detached.UNFORKABLE
def test_a_sweep_that_is_killed_five_times_ends_as_if_undisturbed(done, start, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "_spawn", spawn)
    rng, sweep, before = random.Random(0), start(tmp_path, detached=True), {}
    for _ in range(5):
        begun = len(sweep.log(10_000).splitlines())
        until(lambda begun=begun: len(sweep.log(10_000).splitlines()) > begun)  # it works
        time.sleep(1.5 * rng.random())
        os.kill(sweep._folder.read_state()["process"]["pid"], signal.SIGKILL)
        until(lambda: not sweep.active)
        assert sweep.status == "stopped"
        now = finished(tmp_path)
        assert {name: now[name] for name in before} == before
        before = now
        sweep.resume()
    assert sweep.wait().status == "done"
    now = finished(tmp_path)
    assert {name: now[name] for name in before} == before
    ended = re.findall(r"(\w+)\) done: loss", sweep.log(10_000))
    assert sorted(ended) == sorted(set(sweep.table["key"]))  # each once
    measured = ["loss", "preference", "margin", "task_loss"]
    timed = [*measured, "seconds", "eval_seconds"]
    pd.testing.assert_frame_equal(sweep.table.drop(columns=timed), done.table.drop(columns=timed))
    pd.testing.assert_frame_equal(sweep.table[measured], done.table[measured], rtol=1e-5)


def test_a_failed_cell_does_not_end_the_sweep(start, tmp_path, monkeypatch):
    run, attempts = cells.Bench.run, []

    def fails_once(self, cell, should_stop):
        attempts.append(cell.key)
        if len(attempts) == 2:
            raise UserError("Out of memory")
        return run(self, cell, should_stop)

    monkeypatch.setattr(cells.Bench, "run", fails_once)
    sweep = start(tmp_path, ratios=(1.0,))
    with pytest.raises(UserError, match=r"1 of 3 cells failed, the first one \(runs/.*\): Out of memory"):
        sweep.wait()
    assert sweep.status == "failed"
    assert sweep.table["status"].tolist() == ["done", "failed", "done"]
    assert sweep.resume().wait().status == "done"
    assert len(attempts) == 4


def test_tasks_measure_preference_and_margin(start, tmp_path):
    tasks = wb.load("bundled").select(range(4))
    sweep = start(tmp_path, tasks=tasks, ratios=(1.0,), seeds=2).wait()
    table = sweep.table
    assert table[["task_loss", "preference", "margin"]].notna().all().all()
    report = wb.evaluate(
        str(rebuilt(sweep, table.loc[0])),
        tasks,
        measures=("loss", "preference"),
        dtype="float32",
        device="cpu",
    )
    assert table.loc[0, "margin"] == pytest.approx(report.margin, rel=1e-4)
    assert table.loc[0, "preference"] == pytest.approx(report.preference, rel=1e-4)
    assert table.loc[0, "task_loss"] == pytest.approx(report.loss_per_token, rel=1e-4)
    assert sweep.base["margin"].notna().all()


def rebuilt(sweep, line):
    """The folder of the model of a cell, trained anew by `wb.finetune`."""
    folder = SweepFolder(sweep.output_dir)
    _, plan = folder.read_plan()
    cell = next(cell for cell in plan.cells if cell.key == line["key"])
    run = wb.finetune(
        rows().select(plan.rows[cell.rows]), cell.model, sweep.output_dir / "again", **cell.settings
    ).wait()
    assert run.summary["rows_sha256"] == RunFolder(folder.run(cell.key).path).read()["summary"]["rows_sha256"]
    return run.model_dir


def test_an_active_sweep_is_not_replaced_by_another(start, tmp_path):
    sweep = start(tmp_path, epochs=100)
    assert start(tmp_path, epochs=100).status == "running"
    with pytest.raises(UserError, match="holds a sweep with other cells that is still active"):
        start(tmp_path, epochs=101)
    sweep.stop()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratios": (0.1, 2)}, r"ratio=2 must be above 0 and at most 1"),
        ({"ratios": ()}, "ratios is empty"),
        ({"ratios": 0.4}, r"ratios=0.4 must be a list"),
        ({"strategies": "ifd-cluster"}, r"strategies='ifd-cluster' must be a list"),
        ({"strategies": ("best",)}, r"strategies='best' is not known"),
        ({"strategies": ("k-center",)}, "column 'embedding' is missing"),
        ({"seeds": 0}, "seeds=0 must be a whole number of at least 1"),
        ({"seeds": {"longest-ago": 3}}, "seeds='longest-ago' is not known"),
        (
            {"selection": {"best": 1}},
            "selection='best' is not known; choose one of by, lower, max_ifd, upper",
        ),
        (
            {"budget": "hours"},
            "budget='hours' is not known; choose one of epochs, rows-epochs, steps, tokens",
        ),
        ({"learning_rates": (0,)}, "learning_rates=0 must be a finite number above 0"),
        ({"learning_rte": 1}, "setting='learning_rte' is not known"),
        ({"settings": TrainingSettings()}, "settings and dtype= are two ways to set the training"),
        ({"ratios": (0.01,)}, "'ifd-cluster' keeps none of the 40 rows at ratio=0.01; raise it"),
    ],
)
def test_a_wrong_argument_is_named(start, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        start(tmp_path, **arguments)
    assert not list(tmp_path.glob("plan.json"))


def test_a_folder_without_a_sweep_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no sweep; start one with wb\.sweep"):
        wb.Sweep(tmp_path)


def test_the_plan_is_json(done):
    content = json.loads((done.output_dir / "plan.json").read_text())
    assert content["design"]["budget"] == "rows-epochs"
    assert models.on_disk(content["design"]["models"][0])

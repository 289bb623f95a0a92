"""Resuming: a run that was killed or stopped continues as if undisturbed, from a complete checkpoint."""

import os
import random
import shutil
import time
from functools import partial
from pathlib import Path

import detached
import pytest
from trainings import STEPS, hold_at, kill, reproducible, same_training, starter, steps_of, stopped_run, until

from workbench.core.errors import UserError
from workbench.training import Run, TrainingSettings, attach, checkpoints, job, loop
from workbench.training.folder import RunFolder

pytestmark = pytest.mark.slow  # waits, kills and resumes


@pytest.fixture(scope="module")
def undisturbed(toy_model_dir, tmp_path_factory) -> Run:
    return starter(toy_model_dir("llama"), tmp_path_factory.mktemp("whole"))(save_steps=None).wait()


@detached.UNFORKABLE
def test_a_run_that_is_killed_ten_times_trains_as_if_undisturbed(long_run, undisturbed):
    rng, run, resumed_from = random.Random(0), long_run(detached=True, save_steps=3), []
    for _ in range(10):
        before = steps_of(run)
        goal = before + rng.randrange(1, 8)
        until(lambda goal=goal: steps_of(run) >= goal)
        time.sleep(rng.random() / 100)  # at a random moment of a step
        kill(run)
        assert run.status == "failed"
        newest = checkpoints.newest(run.output_dir / "checkpoints")
        resumed_from.append(checkpoints.step_of(newest) if newest else 0)
        kept = reproducible(run)[: resumed_from[-1]]
        run.resume()
        until(lambda: steps_of(run) > resumed_from[-1])
        assert reproducible(run)[: resumed_from[-1]] == kept  # the steps before the checkpoint are kept
    assert resumed_from == sorted(resumed_from)
    assert 0 < resumed_from[-1] < STEPS
    assert run.wait().status == "done"
    assert reproducible(run) == reproducible(undisturbed)
    same_training(run, undisturbed)
    until(lambda: not (run.output_dir / "checkpoints").exists())  # removed right after the status is written


@detached.UNFORKABLE
@pytest.mark.parametrize("function", ["_save_optimizer_and_scheduler", "_save_rng_state", "seal", "replace"])
def test_a_kill_while_saving_leaves_the_checkpoint_before(long_run, undisturbed, monkeypatch, function):
    monkeypatch.setattr(job, "_spawn", partial(detached.spawn, die_in=function))
    run = long_run(detached=True)
    until(lambda: not run.active)
    assert "ended unexpectedly" in str(run.error)
    assert "resume() continues from step 8." in str(run.error)
    assert steps_of(run) == 16
    monkeypatch.undo()
    run._folder.update(detached=False)
    assert run.resume().wait().status == "done"
    assert reproducible(run) == reproducible(undisturbed)


def test_a_checkpoint_that_lacks_a_byte_is_not_used(toy_model_dir, tmp_path):
    stopped = stopped_run(toy_model_dir("llama"), tmp_path / "stopped")
    complete = checkpoints.newest(stopped.output_dir / "checkpoints")
    names = [str(path.relative_to(complete)) for path in complete.rglob("*") if path.is_file()]
    assert {"model.safetensors", "optimizer.pt", "trainer_state.json", "complete.json"} <= set(names)
    for name in names:
        for damage in (lambda path: os.truncate(path, path.stat().st_size - 1), Path.unlink):
            folder = tmp_path / "checkpoints"
            for step in (1, 2):
                shutil.copytree(complete, folder / f"checkpoint-{step}")
            damage(folder / "checkpoint-2" / name)
            assert checkpoints.newest(folder).name == "checkpoint-1", name
            log = []
            checkpoints.discard_incomplete(folder, log.append)
            assert len(log) == 1
            assert log[0].startswith("checkpoint-2 cannot be used: ")
            assert [path.name for path in folder.iterdir()] == ["checkpoint-1"]
            shutil.rmtree(folder)


def test_without_a_complete_checkpoint_a_run_starts_over_and_logs_why(long_run, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        paused = hold_at(3, patch)
        run = long_run()
        assert paused.wait(30)
        run.stop()
    last = checkpoints.newest(run.output_dir / "checkpoints")
    os.truncate(last / "optimizer.pt", 100)
    assert run.resume().wait().status == "done"
    assert reproducible(run) == reproducible(undisturbed)
    assert f"{last.name} cannot be used: optimizer.pt has 100 of " in run.log(200)


def test_a_history_is_read_up_to_an_incomplete_line(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (1, 2, 3):
        folder.append({"step": step})
    with folder.history_file.open("a") as file:
        file.write('{"step": 4, "lo')
    assert Run(tmp_path).history == [{"step": step} for step in (1, 2, 3)]
    assert folder.keep_history(2) == [{"step": 1}, {"step": 2}]
    folder.append({"step": 3})
    assert folder.history_file.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_reading_follows_a_history_that_grows_or_is_replaced(tmp_path):
    folder, run = RunFolder(tmp_path), Run(tmp_path)
    assert run.history == []
    for step in (1, 2):
        folder.append({"step": step})
        assert steps_of(run) == step
    folder.keep_history(1)
    assert run.history == [{"step": 1}]


def test_save_minutes_writes_checkpoints(long_run):
    run = long_run(save_steps=None, save_minutes=1e-6, epochs=10_000)
    until(lambda: checkpoints.newest(run.output_dir / "checkpoints"))
    assert run.stop().status == "stopped"


def test_saving_takes_at_most_a_twentieth_of_the_time():
    arguments = dict.fromkeys(("schedule", "memory", "on_record", "on_pass", "should_stop", "measure"))
    reporter = loop._Reporter(settings=TrainingSettings(save_minutes=1), **arguments)
    reporter.saved, reporter.save_seconds = 0.0, 2.0
    due = {}
    for reporter.step_ended in (59.0, 60.0):
        due[reporter.step_ended] = reporter._is_due()
    assert due == {59.0: False, 60.0: True}
    reporter.save_seconds = 10.0
    assert not reporter._is_due()
    reporter.step_ended = 200.0
    assert reporter._is_due()


def test_a_detached_run_can_be_attached_to_stopped_and_resumed(long_run, undisturbed):
    run = long_run(detached=True)
    other = attach(run.output_dir)
    until(lambda: steps_of(other) > 2)
    with pytest.raises(UserError, match="is running; only a stopped or failed run can be resumed"):
        other.resume()
    assert other.stop().status == "stopped"
    assert run.status == "stopped"
    assert (run.model_dir / "model.safetensors").exists()
    assert attach(run.output_dir).resume().wait().status == "done"
    assert run.summary["steps"] == STEPS
    same_training(run, undisturbed)


def test_attaching_to_a_folder_without_a_run_raises(tmp_path):
    with pytest.raises(UserError, match=r"output_dir='.*' holds no run; start one with wb.finetune"):
        attach(tmp_path)


@pytest.mark.parametrize("name", ["model", "checkpoints"])
def test_a_folder_that_is_not_a_run_is_never_overwritten(long_run, tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(UserError, match=f"holds {name}/, but no run; choose another folder"):
        long_run(overwrite=True)

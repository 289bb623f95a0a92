"""Failed runs: out of disk space, out of memory, NaN or killed, each says why and what to do next."""

import os
import shutil
import socket
import subprocess
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from pathlib import Path

import detached
import pytest
import torch
from trainings import reproducible, steps_of, stopped_run, until

from workbench.core.errors import UserError
from workbench.lm import models
from workbench.training import Run, attach, checkpoints, loop, processes
from workbench.training.folder import RunFolder


@pytest.fixture
def small_disk(tmp_path):
    """Return a file system of 4 MiB. A checkpoint of the toy model takes half a MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def full(disk: Path):
    """Fill up `disk` within this context, again and again."""

    def fill():
        handle = os.open(disk / "ballast", os.O_CREAT | os.O_WRONLY)
        while not done.is_set():
            with suppress(OSError):
                while True:
                    os.write(handle, bytes(1024))
            time.sleep(0.0001)
        os.close(handle)
        (disk / "ballast").unlink()

    done, filler = threading.Event(), threading.Thread(target=fill)
    filler.start()
    try:
        yield
    finally:
        done.set()
        filler.join()


@detached.UNFORKABLE
@pytest.mark.slow
@pytest.mark.parametrize("is_detached", [False, True])
def test_a_full_disk_is_reported_on_that_disk(long_run, small_disk, is_detached):
    run = long_run(small_disk / "run", detached=is_detached, epochs=10_000)
    until(lambda: steps_of(run) > 8)  # its checkpoint is on disk
    message = r"failed: The disk is full: .* Free some space there. resume\(\) continues"
    with full(small_disk), pytest.raises(UserError, match=message) as raised:
        run.wait()
    assert run._folder.read()["status"] == "failed"
    assert run._folder.read()["error"] in str(raised.value)
    assert str(run.error) == str(attach(run.output_dir).error) == str(raised.value)
    assert f"The last lines of {run.output_dir / 'run.log'}:\n" in str(run.error)
    kept = reproducible(run)[: checkpoints.step_of(checkpoints.newest(run.output_dir / "checkpoints"))]
    run.resume()
    until(lambda: steps_of(run) > len(kept))
    assert run.stop().status == "stopped"
    assert reproducible(run)[: len(kept)] == kept


def test_the_state_is_overwritten_in_place_on_a_full_disk(tmp_path, monkeypatch):
    def no_space(path, text):
        raise OSError(28, "No space left on device")

    folder = RunFolder(tmp_path)
    folder.write({"status": "running", "error": None})
    size = folder.state_file.stat().st_size
    monkeypatch.setattr("workbench.training.folder.replace", no_space)
    folder.update(status="failed", error="why " * 1000)
    assert folder.read()["error"] == "why " * 1000
    assert folder.state_file.stat().st_size == size


OUT_OF_MEMORY = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
    "python": MemoryError(),
}


@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
def test_out_of_memory_suggests_settings_that_need_less(long_run, monkeypatch, kind):
    def fail(*_, **__):
        raise OUT_OF_MEMORY[kind]

    monkeypatch.setattr(loop._PlanTrainer, "training_step", fail)
    with pytest.raises(
        UserError, match=r"Out of memory: .* a new run with a smaller batch_size than 2"
    ) as raised:
        long_run().wait()
    for suggestion in ("gradient_checkpointing=True", "method='lora'", "max_length than 256"):
        assert suggestion in str(raised.value)


def test_a_nan_gradient_ends_the_run_before_it_reaches_a_checkpoint(long_run, monkeypatch):
    def with_nan_gradient(trainer, *args, **kwargs):
        loss = step(trainer, *args, **kwargs)
        if trainer.state.global_step == 4:
            next(trainer.model.parameters()).grad.fill_(float("nan"))
        return loss

    step = loop._PlanTrainer.training_step
    monkeypatch.setattr(loop._PlanTrainer, "training_step", with_nan_gradient)
    run = long_run(save_steps=1)
    with pytest.raises(
        UserError, match="the norm of the gradient is nan at step 5; try a lower learning_rate"
    ):
        run.wait()
    assert checkpoints.step_of(checkpoints.newest(run.output_dir / "checkpoints")) == 4


def test_an_unexpected_error_names_the_file_of_its_traceback(long_run, monkeypatch):
    monkeypatch.setattr(loop._PlanTrainer, "training_step", lambda *_: {}["no such key"])
    run = long_run()
    with pytest.raises(UserError, match=r"KeyError: 'no such key'. The traceback is in .*run.log. resume"):
        run.wait()
    assert "Traceback (most recent call last):" in run.log(200)


@pytest.mark.parametrize("fails", [False, True])
def test_an_ended_run_leaves_no_model_in_memory(long_run, monkeypatch, fails):
    def load(*args):
        loaded = load_model(*args)
        models_loaded.append(weakref.ref(loaded[0]))
        return loaded

    load_model, models_loaded = models.load_model, []
    monkeypatch.setattr(models, "load_model", load)
    if fails:
        monkeypatch.setattr(loop._PlanTrainer, "training_step", lambda *_: {}["no such key"])
    run = long_run()
    until(lambda: run.history or not run.active)
    run.request_stop()
    with suppress(UserError):
        run.wait()
    assert run.status == ("failed" if fails else "stopped")
    assert [model() for model in models_loaded] == [None]


@pytest.fixture(scope="module")
def stopped(toy_model_dir, tmp_path_factory) -> Run:
    return stopped_run(toy_model_dir("llama"), tmp_path_factory.mktemp("stopped"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, "it was killed, .* detached=True survive"),
        ({"host": socket.gethostname()}, "it was killed"),  # an earlier kernel with the same pid
        ({"host": "another-machine"}, "another-machine"),
    ],
)
def test_a_run_whose_process_is_gone_has_failed(stopped, tmp_path, changes, message):
    folder = RunFolder(Path(shutil.copytree(stopped.output_dir, tmp_path / "copy")))
    folder.update(status="running", process=processes.identity() | changes)
    os.utime(folder.state_file, (time.time() - 600,) * 2)
    run = attach(folder.path)
    assert (run.status, run.active) == ("failed", False)
    with pytest.raises(
        UserError, match=f"(?s)ended unexpectedly: .*{message}|{message}.* ended unexpectedly"
    ):
        run.wait()
    assert folder.read()["status"] == "failed"


def test_a_restart_of_the_machine_is_reported(stopped, tmp_path, monkeypatch):
    folder = RunFolder(Path(shutil.copytree(stopped.output_dir, tmp_path / "copy")))
    folder.update(status="running", process=processes.identity() | {"pid": 2**22 + 1})
    monkeypatch.setattr(processes.psutil, "boot_time", lambda: time.time() + 1)
    assert "the machine was restarted" in str(attach(folder.path).error)

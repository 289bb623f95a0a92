"""Runs to trust with a night: killed, stopped, queued or out of room, they resume as if undisturbed."""

import _thread
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import detached
import pytest
import torch
from trainings import DS, FAST, hold_at, same_training

from workbench import cli
from workbench.core import tables
from workbench.core.errors import UserError
from workbench.lm import models
from workbench.study.recipe import Recipe
from workbench.training import Run, TrainingSettings, attach, checkpoints, finetune, job, loop, processes
from workbench.training.folder import RunFolder

STEPS = 80
LONG = {"batch_size": 2, "epochs": STEPS // 4, "learning_rate": 1e-3}
ENDLESS = LONG | {"epochs": 10_000}
UNFORKABLE = pytest.mark.skipif(sys.platform != "linux", reason="forks a process that holds PyTorch")


@pytest.fixture
def tune(toy_model_dir, tmp_path, monkeypatch):
    """Start a run on the toy llama in a folder of its own; detached ones in a process that starts at once."""
    monkeypatch.setattr(job, "_spawn", detached.spawn)

    def start(folder: Path = tmp_path / "run", **settings) -> Run:
        return finetune(DS, toy_model_dir("llama"), folder, **FAST | LONG | {"save_steps": 8} | settings)

    return start


@pytest.fixture(scope="module")
def undisturbed(toy_model_dir, tmp_path_factory) -> Run:
    return finetune(DS, toy_model_dir("llama"), tmp_path_factory.mktemp("whole"), **FAST | LONG).wait()


def until(found, seconds: float = 30):
    """Wait for `found()` to be something, and return it."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.002)
    return value


def steps_of(run: Run) -> int:
    return run.history[-1]["step"] if run.history else 0


def kill(run: Run) -> None:
    os.kill(run._folder.read()["process"]["pid"], signal.SIGKILL)
    until(lambda: not run.active)


def told(run: Run, *, beside: tuple[str, ...] = ("step", "loss", "learning_rate", "tokens")) -> list[dict]:
    """The history without what differs from one run of the same steps to the next."""
    return [{name: record[name] for name in beside} for record in run.history]


@UNFORKABLE
def test_ten_kills_change_nothing(tune, undisturbed):
    chance, run, resumed_from = random.Random(0), tune(detached=True, save_steps=3), []
    for _ in range(10):
        before = steps_of(run)
        wanted = before + chance.randrange(1, 8)
        until(lambda wanted=wanted: steps_of(run) >= wanted)
        time.sleep(chance.random() / 100)  # amid whatever it does then
        kill(run)
        assert run.status == "failed"
        last = checkpoints.newest(run.output_dir / "checkpoints")
        resumed_from.append(checkpoints.step_of(last) if last else 0)
        sure = told(run)[: resumed_from[-1]]
        run.resume()
        until(lambda: steps_of(run) > resumed_from[-1])
        assert told(run)[: resumed_from[-1]] == sure  # nothing from before is lost
    assert resumed_from == sorted(resumed_from)
    assert 0 < resumed_from[-1] < STEPS
    assert run.wait().status == "done"
    assert told(run) == told(undisturbed)
    same_training(run, undisturbed)
    until(lambda: not (run.output_dir / "checkpoints").exists())  # right after the last word


@UNFORKABLE
@pytest.mark.parametrize("place", ["_save_optimizer_and_scheduler", "_save_rng_state", "seal", "replace"])
def test_a_kill_amid_a_checkpoint_leaves_the_one_before(tune, undisturbed, monkeypatch, place):
    monkeypatch.setattr(job, "_spawn", partial(detached.spawn, die_in=place))
    run = tune(detached=True)
    until(lambda: not run.active)
    assert "ended unexpectedly" in str(run.error)
    assert "resume() continues from step 8." in str(run.error)
    assert steps_of(run) == 16
    monkeypatch.undo()
    run._folder.update(detached=False)
    assert run.resume().wait().status == "done"
    assert told(run) == told(undisturbed)


@pytest.fixture(scope="module")
def stopped(toy_model_dir, tmp_path_factory) -> Run:
    """A run with a checkpoint."""
    run = finetune(DS, toy_model_dir("llama"), tmp_path_factory.mktemp("stopped"), **FAST | ENDLESS)
    until(lambda: run.history)
    return run.stop()


def test_a_checkpoint_that_lacks_a_byte_is_none(stopped, tmp_path):
    whole = checkpoints.newest(stopped.output_dir / "checkpoints")
    names = [str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file()]
    assert {"model.safetensors", "optimizer.pt", "trainer_state.json", "complete.json"} <= set(names)
    for name in names:
        for spoil in (lambda path: os.truncate(path, path.stat().st_size - 1), Path.unlink):
            folder = tmp_path / "checkpoints"
            for step in (1, 2):
                shutil.copytree(whole, folder / f"checkpoint-{step}")
            spoil(folder / "checkpoint-2" / name)
            assert checkpoints.newest(folder).name == "checkpoint-1", name
            said = []
            checkpoints.discard_incomplete(folder, said.append)
            assert len(said) == 1
            assert said[0].startswith("checkpoint-2 cannot be used: ")
            assert [path.name for path in folder.iterdir()] == ["checkpoint-1"]
            shutil.rmtree(folder)


def test_without_a_whole_checkpoint_a_run_starts_over_and_says_so(tune, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        there = hold_at(3, patch)
        run = tune()
        assert there.wait(30)
        run.stop()
    last = checkpoints.newest(run.output_dir / "checkpoints")
    os.truncate(last / "optimizer.pt", 100)
    assert run.resume().wait().status == "done"
    assert told(run) == told(undisturbed)
    assert f"{last.name} cannot be used: optimizer.pt has 100 of " in run.log(200)


def test_a_torn_history_is_read_up_to_there(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (1, 2, 3):
        folder.append({"step": step})
    with folder.history_file.open("a") as file:
        file.write('{"step": 4, "lo')
    assert Run(tmp_path).history == [{"step": step} for step in (1, 2, 3)]
    assert folder.keep_history(2) == [{"step": 1}, {"step": 2}]
    folder.append({"step": 3})
    assert folder.history_file.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_a_history_that_grows_and_is_replaced_is_followed(tmp_path):
    folder, run = RunFolder(tmp_path), Run(tmp_path)
    assert run.history == []
    for step in (1, 2):
        folder.append({"step": step})
        assert steps_of(run) == step
    folder.keep_history(1)
    assert run.history == [{"step": 1}]


def test_checkpoints_come_by_the_clock(tune):
    run = tune(save_steps=None, save_minutes=1e-6, epochs=10_000)
    until(lambda: checkpoints.newest(run.output_dir / "checkpoints"))
    assert run.stop().status == "stopped"


def test_checkpoints_take_no_more_than_a_twentieth_of_the_time():
    reporter = loop._Reporter(None, TrainingSettings(save_minutes=1), None, None, None, None)
    reporter.saved, reporter.save_seconds = 0.0, 2.0
    due = {}
    for reporter.step_ended in (59.0, 60.0):
        due[reporter.step_ended] = reporter._is_due()
    assert due == {59.0: False, 60.0: True}
    reporter.save_seconds = 10.0
    assert not reporter._is_due()
    reporter.step_ended = 200.0
    assert reporter._is_due()


def test_a_detached_run_is_taken_up_from_its_folder(tune, undisturbed):
    run = tune(detached=True)
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


def test_a_folder_without_a_run_cannot_be_taken_up(tmp_path):
    with pytest.raises(UserError, match=r"output_dir='.*' holds no run; start one with wb.finetune"):
        attach(tmp_path)


@pytest.mark.parametrize("name", ["model", "checkpoints"])
def test_what_is_no_part_of_a_run_is_never_written_over(tune, tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(UserError, match=f"holds {name}/, but no run; choose another folder"):
        tune(overwrite=True)


# What ends a run.


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB; a checkpoint of the toy takes half of one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def no_room(disk: Path):
    """Within this context, something else takes all room on `disk`, whenever there is some."""

    def fill():
        handle = os.open(disk / "ballast", os.O_CREAT | os.O_WRONLY)
        while not over.is_set():
            with suppress(OSError):
                while True:
                    os.write(handle, bytes(1024))
            time.sleep(0.0001)
        os.close(handle)
        (disk / "ballast").unlink()

    over, filler = threading.Event(), threading.Thread(target=fill)
    filler.start()
    try:
        yield
    finally:
        over.set()
        filler.join()


@UNFORKABLE
@pytest.mark.parametrize("is_detached", [False, True])
def test_a_full_disk_is_told_on_that_disk(tune, small_disk, is_detached):
    run = tune(small_disk / "run", detached=is_detached, epochs=10_000)
    until(lambda: steps_of(run) > 8)  # whose checkpoint is on disk
    full = r"failed: The disk is full: .* Free some space there. resume\(\) continues"
    with no_room(small_disk), pytest.raises(UserError, match=full) as told_by:
        run.wait()
    assert run._folder.read()["status"] == "failed"
    assert run._folder.read()["error"] in str(told_by.value)
    assert str(run.error) == str(attach(run.output_dir).error) == str(told_by.value)
    assert f"The last lines of {run.output_dir / 'run.log'}:\n" in str(run.error)
    sure = told(run)[: checkpoints.step_of(checkpoints.newest(run.output_dir / "checkpoints"))]
    run.resume()
    until(lambda: steps_of(run) > len(sure))
    assert run.stop().status == "stopped"
    assert told(run)[: len(sure)] == sure


def test_the_state_is_written_over_itself_where_there_is_no_room(tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    folder = RunFolder(tmp_path)
    folder.write({"status": "running", "error": None})
    size = folder.state_file.stat().st_size
    monkeypatch.setattr("workbench.training.folder.replace", full)
    folder.update(status="failed", error="why " * 1000)
    assert folder.read()["error"] == "why " * 1000
    assert folder.state_file.stat().st_size == size


OUT_OF_MEMORY = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
    "python": MemoryError(),
}


@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
def test_out_of_memory_names_what_takes_less(tune, monkeypatch, kind):
    def refuse(*_, **__):
        raise OUT_OF_MEMORY[kind]

    monkeypatch.setattr(loop._PlanTrainer, "training_step", refuse)
    with pytest.raises(
        UserError, match=r"Out of memory: .* a new run with a smaller batch_size than 2"
    ) as told_by:
        tune().wait()
    for way in ("gradient_checkpointing=True", "method='lora'", "max_length than 256"):
        assert way in str(told_by.value)


def test_a_gradient_that_is_no_number_ends_the_run_before_a_checkpoint_holds_it(tune, monkeypatch):
    def spoil(trainer, *args, **kwargs):
        loss = step(trainer, *args, **kwargs)
        if trainer.state.global_step == 4:
            next(trainer.model.parameters()).grad.fill_(float("nan"))
        return loss

    step = loop._PlanTrainer.training_step
    monkeypatch.setattr(loop._PlanTrainer, "training_step", spoil)
    run = tune(save_steps=1)
    with pytest.raises(
        UserError, match="the norm of the gradient is nan at step 5; try a lower learning_rate"
    ):
        run.wait()
    assert checkpoints.step_of(checkpoints.newest(run.output_dir / "checkpoints")) == 4


def test_an_error_of_any_other_kind_names_its_traceback(tune, monkeypatch):
    monkeypatch.setattr(loop._PlanTrainer, "training_step", lambda *_: {}["no such key"])
    run = tune()
    with pytest.raises(UserError, match=r"KeyError: 'no such key'. The traceback is in .*run.log. resume"):
        run.wait()
    assert "Traceback (most recent call last):" in run.log(200)


@pytest.mark.parametrize("fails", [False, True])
def test_an_ended_run_leaves_no_model_in_memory(tune, monkeypatch, fails):
    def load(*args):
        loaded = load_model(*args)
        models_loaded.append(weakref.ref(loaded[0]))
        return loaded

    load_model, models_loaded = models.load_model, []
    monkeypatch.setattr(models, "load_model", load)
    if fails:
        monkeypatch.setattr(loop._PlanTrainer, "training_step", lambda *_: {}["no such key"])
    run = tune()
    until(lambda: run.history or not run.active)
    run.request_stop()
    with suppress(UserError):
        run.wait()
    assert run.status == ("failed" if fails else "stopped")
    assert [model() for model in models_loaded] == [None]


# Whether a run still lives.


def test_a_process_is_known_by_its_birth(tmp_path):
    this = processes.identity()
    assert processes.is_alive(this, tmp_path)
    assert not processes.is_alive(this | {"birth": this["birth"] - 60}, tmp_path)  # another one of that id
    child = subprocess.Popen(["sleep", "60"])
    there = processes.identity(child.pid)
    assert processes.is_alive(there, tmp_path)
    child.kill()
    until(lambda: not processes.is_alive(there, tmp_path))  # a zombie by now, which nobody has waited for
    child.wait()
    assert not processes.is_alive(there, tmp_path)


def test_a_process_elsewhere_lives_while_it_gives_signs_of_it(tmp_path):
    elsewhere = processes.identity() | {"host": "another-machine"}
    beat = tmp_path / "run.json"
    beat.touch()
    assert processes.is_alive(elsewhere, beat)
    os.utime(beat, (time.time() - 600,) * 2)
    assert not processes.is_alive(elsewhere, beat)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, "it was killed, .* detached=True survive"),
        ({"host": socket.gethostname()}, "it was killed"),  # a kernel of this very id, before a restart
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


def test_a_restart_of_the_machine_is_named(stopped, tmp_path, monkeypatch):
    folder = RunFolder(Path(shutil.copytree(stopped.output_dir, tmp_path / "copy")))
    folder.update(status="running", process=processes.identity() | {"pid": 2**22 + 1})
    monkeypatch.setattr(processes.psutil, "boot_time", lambda: time.time() + 1)
    assert "the machine was restarted" in str(attach(folder.path).error)


# Turns.


@UNFORKABLE
def test_runs_of_several_processes_take_turns(tune, tmp_path):
    first = tune(tmp_path / "first", detached=True, epochs=10_000)
    until(lambda: first.history)
    here, there = tune(tmp_path / "here"), tune(tmp_path / "there", detached=True)
    until(lambda: "queued: another run uses cpu" in there.log())
    assert (here.status, there.status) == ("queued", "queued")
    assert there.stop().status == "stopped"
    assert (here.status, here.history, there.history) == ("queued", [], [])
    kill(first)  # its turn ends with it
    assert here.wait().status == "done"
    assert there.resume().wait().status == "done"


# Waiting.


def test_waiting_has_an_end(tune):
    run = tune(epochs=10_000)
    start = time.monotonic()
    assert run.wait(timeout=0.3) is run
    assert 0.2 < time.monotonic() - start < 5
    assert run.active
    run.stop()


def test_an_interrupt_of_wait_leaves_the_run_going(tune):
    run = tune(epochs=10_000)
    until(lambda: run.history)
    threading.Timer(0.3, _thread.interrupt_main).start()
    # Where the tests run in a shell's background, Ctrl-C is ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt, match=r"the run in .* continues; call its stop\(\) to end it"):
            run.wait(60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.active
    run.stop()


LEAVES = """
import sys, time
from workbench.training import finetune
from trainings import DS, FAST
model, folder = sys.argv[1:]
runs = [finetune(DS, model, f"{folder}/{name}", **FAST, epochs=10**5, detached=name == "detached")
        for name in ("thread", "detached")]
while not runs[0].history:
    time.sleep(0.01)
"""


def test_what_outlives_an_interpreter(toy_model_dir, tmp_path):
    here = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", LEAVES, toy_model_dir("llama"), tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])},
        timeout=60,
    )
    assert done.returncode == 0
    thread, other = attach(tmp_path / "thread"), attach(tmp_path / "detached")
    assert thread.status == "stopped"
    assert checkpoints.step_of(checkpoints.newest(thread.output_dir / "checkpoints")) == steps_of(thread)
    until(lambda: other.history, 60)
    assert other.status == "running"
    assert os.getsid(other._folder.read()["process"]["pid"]) != os.getsid(0)
    other.stop()
    assert other.status == "stopped"


# The command line.


@pytest.fixture
def command(toy_model_dir, tmp_path, monkeypatch) -> list[str]:
    """`workbench finetune` of a small study."""
    recipe = Recipe(model=str(toy_model_dir("llama")), training=TrainingSettings(**FAST | LONG))
    recipe.to_yaml(tmp_path / "recipe.yaml")
    tables.write_jsonl(DS, tmp_path / "rows.jsonl")
    monkeypatch.setattr(RunFolder, "append", detached.slowly(RunFolder.append))
    places = {"--recipe": "recipe.yaml", "--data": "rows.jsonl", "--output": "run"}
    return ["finetune", *(str(part) for name, file in places.items() for part in (name, tmp_path / file))]


def exit_code(command: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    return ended.value.code


def signal_at(step: int, number: int, folder: Path) -> None:
    def send():
        until(lambda: folder.exists() and steps_of(Run(folder)) >= step)
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_preempted_command_goes_on_where_it_was(command, undisturbed, tmp_path, capsys, number, code):
    signal_at(5, number, tmp_path / "run")
    assert exit_code(command) == code
    run = attach(tmp_path / "run")
    assert run.status == "stopped"
    assert 5 <= checkpoints.step_of(checkpoints.newest(run.output_dir / "checkpoints")) < STEPS
    cli.main(["status", str(tmp_path / "run")])
    assert f"run: stopped, step {steps_of(run)} of {STEPS}>" in capsys.readouterr().out
    assert exit_code(command) == 0
    assert told(run) == told(undisturbed)
    shown = capsys.readouterr().out
    assert "resuming from checkpoint-" in shown
    assert f"step {STEPS} of {STEPS} · loss " in shown
    assert exit_code(command) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run'}: already done\n"


def test_a_command_waits_until_a_lost_machine_counts_as_gone(command, undisturbed, tmp_path, monkeypatch):
    signal_at(5, signal.SIGTERM, tmp_path / "run")
    assert exit_code(command) == 143
    folder = RunFolder(tmp_path / "run")
    folder.update(status="running", process=processes.identity() | {"host": "another-machine"})
    monkeypatch.setattr(processes, "_SILENCE", 1.0)
    start = time.monotonic()
    assert exit_code(command) == 0
    assert time.monotonic() - start > 1
    assert told(Run(folder.path)) == told(undisturbed)


def test_a_command_of_another_study_leaves_the_run_alone(command, tmp_path, capsys):
    assert exit_code(command) == 0
    tables.write_jsonl(DS.select(range(4)), tmp_path / "rows.jsonl")
    assert exit_code(command) == 2
    assert "holds a run with rows='" in capsys.readouterr().err


def test_a_command_that_fails_says_why(command, monkeypatch, capsys):
    monkeypatch.setattr(loop._PlanTrainer, "training_step", lambda *_: {}["no such key"])
    assert exit_code(command) == 1
    assert "KeyError: 'no such key'" in capsys.readouterr().err

"""Processes of runs: which are alive, whose turn it is on a device, and what waiting and exiting do."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import detached
import pytest
from trainings import kill, steps_of, until

from workbench.training import attach, checkpoints, processes

pytestmark = pytest.mark.slow  # waits, kills and resumes


def test_a_process_is_identified_by_its_start_time(tmp_path):
    this = processes.identity()
    assert processes.is_alive(this, tmp_path)
    assert not processes.is_alive(this | {"birth": this["birth"] - 60}, tmp_path)  # another process, same pid
    child = subprocess.Popen(["sleep", "60"])
    other = processes.identity(child.pid)
    assert processes.is_alive(other, tmp_path)
    child.kill()
    until(lambda: not processes.is_alive(other, tmp_path))  # a zombie, not reaped yet
    child.wait()
    assert not processes.is_alive(other, tmp_path)


def test_a_process_on_another_machine_is_alive_while_it_sends_heartbeats(tmp_path):
    remote = processes.identity() | {"host": "another-machine"}
    beat = tmp_path / "run.json"
    beat.touch()
    assert processes.is_alive(remote, beat)
    os.utime(beat, (time.time() - 600,) * 2)
    assert not processes.is_alive(remote, beat)


@detached.UNFORKABLE
def test_runs_in_several_processes_take_turns(long_run, tmp_path):
    first = long_run(tmp_path / "first", detached=True, epochs=10_000)
    until(lambda: first.history)
    thread, process = long_run(tmp_path / "thread"), long_run(tmp_path / "process", detached=True)
    until(lambda: "queued: another run uses cpu" in process.log())
    assert (thread.status, process.status) == ("queued", "queued")
    assert process.stop().status == "stopped"
    assert (thread.status, thread.history, process.history) == ("queued", [], [])
    kill(first)  # which ends its turn
    assert thread.wait().status == "done"
    assert process.resume().wait().status == "done"


def test_wait_returns_after_the_timeout(long_run):
    run = long_run(epochs=10_000)
    start = time.monotonic()
    assert run.wait(timeout=0.3) is run
    assert 0.2 < time.monotonic() - start < 5
    assert run.active
    run.stop()


def test_interrupting_wait_does_not_stop_the_run(long_run):
    run = long_run(epochs=10_000)
    until(lambda: run.history)
    threading.Timer(0.3, _thread.interrupt_main).start()
    # A shell that runs the tests in the background ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt, match=r"the run in .* continues; call its stop\(\) to end it"):
            run.wait(60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.active
    run.stop()


START_AND_EXIT = """
import sys, time
from workbench.training import finetune
from trainings import DS, FAST
model, folder = sys.argv[1:]
runs = [finetune(DS, model, f"{folder}/{name}", **FAST, epochs=10**5, detached=name == "detached")
        for name in ("thread", "detached")]
while not runs[0].history:
    time.sleep(0.01)
"""


def test_exiting_stops_a_thread_with_a_checkpoint_and_leaves_a_detached_run(toy_model_dir, tmp_path):
    tests = Path(__file__).parents[1]
    completed = subprocess.run(
        [sys.executable, "-c", START_AND_EXIT, toy_model_dir("llama"), tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])},
        timeout=240,
    )
    assert completed.returncode == 0
    thread, other = attach(tmp_path / "thread"), attach(tmp_path / "detached")
    assert thread.status == "stopped"
    assert checkpoints.step_of(checkpoints.newest(thread.output_dir / "checkpoints")) == steps_of(thread)
    try:
        until(lambda: other.history, 60)
        assert other.status == "running"
        assert os.getsid(other._folder.read()["process"]["pid"]) != os.getsid(0)
    finally:
        other.stop()  # it would train for days
    assert other.status == "stopped"

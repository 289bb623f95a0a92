"""A run from its folder: in a thread, in a process of its own, or in the calling one.

Schedulers take the last: it ends when they ask, and the same command resumes it.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import datasets

from ..core import memory, tables
from ..core.errors import UserError
from ..lm import models
from . import checkpoints, failures, lifecycle, processes
from .folder import RunFolder, recorder, seconds_of
from .loop import train
from .quality import Quality
from .schedule import Schedule
from .settings import TrainingSettings, settings_of

_EVERY = 1.0  # seconds between looks at a run of another machine
EXIT_CODES = {"done": 0, "failed": 1}


def work(folder: RunFolder, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Train what `folder` describes, from its newest complete checkpoint, to the end or until somebody wants
    it to stop; whatever happens is in the folder afterwards, and the memory is free again."""
    state = folder.read()
    settings = TrainingSettings(**state["settings"])
    main = threading.main_thread()

    def asked() -> bool:
        # An interpreter that ends waits for its threads: they see the main one ended.
        return should_stop() or folder.stop_file.exists() or not main.is_alive()

    with processes.signs_of_life(folder.state_file):
        try:
            outcome = _train_in_turn(folder, state, settings, asked)
        except Exception as error:  # whatever it was: wait() and status tell it
            outcome = {"status": "failed", "error": failures.describe(error, settings, folder)}
        memory.release()
        folder.update(**outcome)
        folder.stop_file.unlink(missing_ok=True)
    folder.log(outcome["status"])
    if outcome["status"] == "done":
        shutil.rmtree(folder.checkpoints, ignore_errors=True)  # three times the model, and of no more use


def _train_in_turn(folder: RunFolder, state: dict, settings: TrainingSettings, asked) -> dict:
    """What changes in the state of the run."""
    with processes.turn(models.pick_device(settings.device), asked, folder.log) as ours:
        if not ours:
            return {"status": "stopped"}
        samples = folder.read_samples()
        planned = {"padding_rate": Schedule(samples, settings).padding_rate}
        with processes.starting():
            folder.update(status="running", summary=state["summary"] | planned)
        checkpoints.discard_incomplete(folder.checkpoints, folder.log)
        last = checkpoints.newest(folder.checkpoints)
        before = folder.keep_history(checkpoints.step_of(last) if last else 0)
        folder.log(f"going on from {last.name}" if last else f"training {state['model']}")

        done = train(
            state["model"],
            samples,
            settings,
            folder.path,
            on_record=recorder(folder, before),
            should_stop=asked,
            checkpoint=last,
            quality=Quality(settings, folder.heldout_file),
        )
    done["seconds"] = round(done["seconds"] + seconds_of(before), 2)
    return {"status": "stopped" if done["stopped"] else "done", "summary": state["summary"] | done}


def start(folder: RunFolder, detached: bool) -> None:
    """Run `folder` in a thread, or in a process that goes on without this one."""
    with processes.starting():
        lifecycle.claim(folder, detached=detached)
        if detached:
            folder.update(process=processes.identity(_spawn(folder)))
        else:
            threading.Thread(target=work, args=(folder,), name=lifecycle.thread_name(folder)).start()


def _spawn(folder: RunFolder) -> int:
    """Start the process of a detached run; returns its id."""
    path = os.pathsep.join(filter(None, sys.path))  # a notebook may have added places to import from
    with folder.log_file.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "workbench.training", str(folder.path.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # else what ends a kernel, or a terminal, ends its children
        )
    threading.Thread(target=child.wait, daemon=True).start()  # else a dead child stays in the process table
    return child.pid


def main(folder: RunFolder) -> int:
    """`work` in the main thread of a process of its own; returns its exit code.

    SIGTERM, which a cluster sends before it takes the machine away, and Ctrl-C stop the run with a
    checkpoint; a second one ends the process as it stands.
    """
    caught = []

    def stop(number, frame):
        caught.append(number)
        signal.signal(number, found[number])

    found = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        work(folder, should_stop=lambda: bool(caught))
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
    status = folder.read()["status"]
    return 128 + caught[0] if caught and status == "stopped" else EXIT_CODES.get(status, 0)


def run_here(
    ds: datasets.Dataset, model: str, output_dir: Path, heldout: datasets.Dataset | None = None, **settings
) -> int:
    """Train as `finetune` does, in this thread, and print the log; returns the exit code of `main`.

    Where `output_dir` holds the same run, stopped or failed, it goes on from its last checkpoint.
    """
    folder = RunFolder(output_dir, echo=True)
    if folder.state_file.exists():
        _check_same(folder, ds, model, settings)
        _await_other_machines(folder)
        if lifecycle.state_of(folder)["status"] == "done":
            print(f"{output_dir}: done before")
            return 0
    else:
        lifecycle.prepare(ds, model, output_dir, heldout, **settings)
    with processes.starting():
        lifecycle.claim(folder, detached=False)
    code = main(folder)
    if error := lifecycle.error_of(folder):
        print(f"workbench: {error}", file=sys.stderr)
    return code


def _await_other_machines(folder: RunFolder) -> None:
    """A scheduler may start a run anew before the silence of the machine that it lost is long enough."""
    if lifecycle.is_elsewhere(folder):
        folder.log(f"waiting: the run goes on at {folder.read()['process']['host']}, or did a moment ago")
    while lifecycle.is_elsewhere(folder):
        time.sleep(_EVERY)


def _check_same(folder: RunFolder, ds: datasets.Dataset, model: str, settings: dict) -> None:
    """Raise if the run in `folder` is another than these make."""
    there = folder.read()
    found = there["settings"] | {"model": there["model"], "rows": there["summary"]["rows_sha256"]}
    wanted = asdict(settings_of(settings))
    wanted |= {"model": lifecycle.lasting_name(model), "rows": tables.rows_sha256(ds)}
    for name, value in wanted.items():
        if found.get(name) != value:
            raise UserError(
                f"output_dir={str(folder.path)!r} holds a run with {name}={found.get(name)!r}, "
                f"not {value!r}; choose another folder."
            )

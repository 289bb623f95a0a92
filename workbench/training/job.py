"""Train the run in a folder: in a thread, in a detached process, or in the calling process.

The last is for job schedulers, which end a process with a signal and later repeat its command to resume.
"""

import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import datasets

from ..core import memory, tables
from ..core.errors import UserError
from ..lm import models
from . import checkpoints, failures, lifecycle, processes
from .folder import RunFolder, pass_recorder, recorder, seconds_of
from .loop import train
from .quality import Quality
from .schedule import Schedule
from .settings import TrainingSettings, settings_of

_POLL = 1.0  # seconds between checks of a run on another machine
EXIT_CODES = {"done": 0, "failed": 1}


def work(folder: RunFolder, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Train the run in `folder` from its newest complete checkpoint until it is done, stopped or failed.

    Never raises: the outcome, including the message of an error, is written to run.json. Frees the memory of
    the training before it returns.
    """
    state = folder.read()
    settings = TrainingSettings(**state["settings"])
    main = threading.main_thread()

    def must_stop() -> bool:
        # At exit, the interpreter waits for its threads after the main one has ended.
        return should_stop() or folder.stop_file.exists() or not main.is_alive()

    with processes.heartbeat(folder.state_file):
        try:
            outcome = _train_in_turn(folder, state, settings, must_stop)
        except Exception as error:  # reported by status and wait()
            outcome = {"status": "failed", "error": failures.describe(error, settings, folder)}
        memory.release()
        folder.update(**outcome)
        folder.progress_file.unlink(missing_ok=True)
        folder.stop_file.unlink(missing_ok=True)
    folder.log(outcome["status"])
    if outcome["status"] == "done":
        shutil.rmtree(folder.checkpoints, ignore_errors=True)  # three times the size of the model


def _train_in_turn(
    folder: RunFolder, state: dict, settings: TrainingSettings, must_stop: Callable[[], bool]
) -> dict:
    """Wait until the device is free, then train; return the changes to run.json."""
    with processes.turn(models.pick_device(settings.device), must_stop, folder.log) as has_turn:
        if not has_turn:
            return {"status": "stopped"}
        samples = folder.read_samples()
        schedule = Schedule(samples, settings)
        tokens = schedule.tokens(0, len(schedule))
        planned = state["summary"] | {"padding_rate": schedule.padding_rate, "tokens": tokens}
        with processes.start_lock():
            folder.update(status="running", summary=planned)
        checkpoints.discard_incomplete(folder.checkpoints, folder.log)
        checkpoint = checkpoints.newest(folder.checkpoints)
        before = folder.keep_history(checkpoints.step_of(checkpoint) if checkpoint else 0)
        folder.progress_file.unlink(missing_ok=True)  # of a process that was killed
        folder.log(f"resuming from {checkpoint.name}" if checkpoint else f"training {state['model']}")

        summary = train(
            state["model"],
            samples,
            settings,
            folder.path,
            on_record=recorder(folder, before),
            on_pass=pass_recorder(folder),
            should_stop=must_stop,
            checkpoint=checkpoint,
            quality=Quality(settings, folder.heldout_file),
        )
    summary["seconds"] = round(summary["seconds"] + seconds_of(before), 2)
    return {"status": "stopped" if summary["stopped"] else "done", "summary": planned | summary}


def start(folder: RunFolder, detached: bool) -> None:
    """Start the run in `folder`, in a thread or in a process that outlives this one."""
    with processes.start_lock():
        lifecycle.claim(folder, detached=detached)
        if detached:
            folder.update(process=processes.identity(_spawn(folder)))
        else:
            threading.Thread(target=work, args=(folder,), name=lifecycle.thread_name(folder)).start()


def _spawn(folder: RunFolder) -> int:
    """Start the process of a detached run; return its pid."""
    return processes.spawn("workbench.training", folder.path, folder.log_file)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM (sent by clusters before they take a machine away) and Ctrl-C in the list that is
    yielded; a second signal of a kind ends the process at once. Only for the main thread."""
    caught = []

    def stop(number, frame):
        caught.append(number)
        signal.signal(number, handlers[number])

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def main(folder: RunFolder) -> int:
    """Call `work` in the main thread of a process of its own; return the exit code.

    A signal of `stop_signals` stops the run with a checkpoint. The exit code is 0 if the run is done, 1 if it
    failed and 128 plus the signal number if a signal stopped it.
    """
    with stop_signals() as caught:
        work(folder, should_stop=lambda: bool(caught))
    status = folder.read()["status"]
    return 128 + caught[0] if caught and status == "stopped" else EXIT_CODES.get(status, 0)


def run_here(
    ds: datasets.Dataset, model: str, output_dir: Path, heldout: datasets.Dataset | None = None, **settings
) -> int:
    """Train like `finetune`, but in the calling thread; print the log and return the exit code of `main`.

    If `output_dir` holds the same run, stopped or failed, resume it from its last checkpoint. Raises
    UserError if it holds a run with another model, other rows or other settings.
    """
    folder = RunFolder(output_dir, echo=True)
    if folder.state_file.exists():
        _check_same(folder, ds, model, settings)
        _wait_for_other_machine(folder)
        if lifecycle.state_of(folder)["status"] == "done":
            print(f"{output_dir}: already done")
            return 0
    else:
        lifecycle.prepare(ds, model, output_dir, heldout, **settings)
    with processes.start_lock():
        lifecycle.claim(folder, detached=False)
    code = main(folder)
    if error := lifecycle.error_of(folder):
        print(f"workbench: {error}", file=sys.stderr)
    return code


def _wait_for_other_machine(folder: RunFolder) -> None:
    """Wait while the run counts as active on another machine. A scheduler may restart a job before its lost
    machine has been silent for long enough to count as dead."""
    if lifecycle.is_elsewhere(folder):
        folder.log(f"waiting: the run is, or just was, active on {folder.read()['process']['host']}")
    while lifecycle.is_elsewhere(folder):
        time.sleep(_POLL)


def _check_same(folder: RunFolder, ds: datasets.Dataset, model: str, settings: dict) -> None:
    """Raise UserError if the run in `folder` has another model, other rows or other settings."""
    if difference := first_difference(folder, ds, model, settings):
        name, stored, value = difference
        raise UserError(
            f"output_dir={str(folder.path)!r} holds a run with {name}={stored!r}, not {value!r}; choose "
            f"another folder."
        )


def first_difference(
    folder: RunFolder, ds: datasets.Dataset, model: str | Path, settings: dict
) -> tuple[str, object, object] | None:
    """What the run in `folder` does not have in common with these arguments of `finetune`: a setting, "model"
    or "rows" (their hash), its value there and here; None if there is nothing."""
    state = folder.read()
    stored = asdict(TrainingSettings(**state["settings"]))
    stored |= {"model": state["model"], "rows": state["summary"]["rows_sha256"]}
    current = asdict(settings_of(settings))
    current |= {"model": lifecycle.lasting_name(model), "rows": tables.rows_sha256(ds)}
    return next(
        ((name, stored.get(name), value) for name, value in current.items() if stored.get(name) != value),
        None,
    )

"""One run from its folder, in whatever thread or process this is called: wait for its turn, train, tell."""

import shutil
import signal
import threading
from collections.abc import Callable

from ..core import memory
from ..lm import models
from . import checkpoints, failures, queue
from .folder import RunFolder
from .loop import train
from .quality import Quality
from .schedule import Schedule
from .settings import TrainingSettings

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

    with folder.signs_of_life():
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
    with queue.turn(models.pick_device(settings.device), asked, folder.log) as ours:
        if not ours:
            return {"status": "stopped"}
        samples = folder.read_samples()
        planned = {"padding_rate": Schedule(samples, settings).padding_rate}
        with queue.starting():
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


def recorder(folder: RunFolder, before: list[dict]) -> Callable[[dict], None]:
    """Writes records into `folder`, their seconds counted on from those `before`."""

    def record(found: dict) -> None:
        found["seconds"] = round(found["seconds"] + seconds_of(before), 3)
        folder.append(found)
        folder.log(sentence(found))

    return record


def seconds_of(history: list[dict]) -> float:
    """How long all steps of a history took."""
    return history[-1]["seconds"] if history else 0.0


def sentence(record: dict) -> str:
    """A record of the history in words."""
    measured = {
        "heldout_loss": "held-out loss {:.4f}",
        "pass_at_1": "pass@1 {:.1%}",
        "eval_error": "not measured: {}",
    }
    return " · ".join(
        [_progress(record)]
        + [words.format(record[name]) for name, words in measured.items() if name in record]
    )


def _progress(record: dict) -> str:
    return (
        f"step {record['step']} of {record['of']} · loss {record['loss']:.4f} · "
        f"{record['tokens_per_second']:.0f} tokens/s · peak {record['peak_memory_mib']:,} MiB"
    )


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

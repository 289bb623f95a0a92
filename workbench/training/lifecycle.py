"""Starting runs, and telling those that go on from those whose process is gone."""

import shutil
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import datasets

from ..core.errors import UserError
from ..lm.prompts import Sample
from . import failures, processes, quality
from .folder import RunFolder
from .schedule import samples_of
from .settings import settings_of
from .trainable import check_hardware

ACTIVE = ("queued", "running")


def state_of(folder: RunFolder) -> dict:
    """What run.json says; if the process is gone that would have to say more, it is told there first."""
    state = folder.read()
    if not _is_lost(folder, state):
        return state
    with processes.starting():
        state = folder.read()  # the last words may have come meanwhile, or a new start
        if _is_lost(folder, state):
            state |= {"status": "failed", "error": failures.gone(state, folder)}
            with suppress(PermissionError):  # somebody else's folder
                folder.write(state)
    return state


def error_of(folder: RunFolder) -> UserError | None:
    """The cause of a failure, the next step and the last lines of the log."""
    text = state_of(folder)["error"]
    return UserError(f"The run in {folder.path} failed: {text}") if text else None


def _is_lost(folder: RunFolder, state: dict) -> bool:
    if state["status"] not in ACTIVE:
        return False
    if processes.is_this(state["process"]):
        return thread_of(folder) is None
    return not processes.is_alive(state["process"], folder.state_file)


def _goes_on(folder: RunFolder, state: dict) -> bool:
    return state["status"] in ACTIVE and not _is_lost(folder, state)


def thread_of(folder: RunFolder) -> threading.Thread | None:
    """The thread of this process in which the run lives."""
    name = thread_name(folder)
    return next((thread for thread in threading.enumerate() if thread.name == name), None)


def thread_name(folder: RunFolder) -> str:
    return f"finetune {folder.path.resolve()}"


def is_elsewhere(folder: RunFolder) -> bool:
    """Whether the run goes on at another machine."""
    state = folder.read()
    return _goes_on(folder, state) and not processes.is_here(state["process"])


def check_free(folder: RunFolder, overwrite: bool) -> None:
    """Raise unless a new run may use `folder`."""
    named = f"output_dir={str(folder.path)!r}"
    if not folder.state_file.exists():
        for part in (folder.checkpoints, folder.model):
            if part.exists():
                raise UserError(f"{named} holds {part.name}/, but no run; choose another folder.")
    elif _goes_on(folder, folder.read()):
        raise UserError(f"{named} holds a run that is not done; wait() for it or stop() it.")
    elif not overwrite:
        raise UserError(
            f"{named} holds a run already; take it up with wb.attach, choose another folder, "
            f"or pass overwrite=True."
        )


def lasting_name(model: str | Path) -> str:
    """A folder by its full path, because a run may be taken up from elsewhere; else the name."""
    return str(Path(model).resolve()) if Path(model).is_dir() else str(model)


def create(folder: RunFolder, samples: list[Sample], state: dict, overwrite: bool) -> None:
    """Write what a run starts from, in place of a run that was there before."""
    with processes.starting():
        check_free(folder, overwrite)  # another process may have been faster
        if folder.state_file.exists():  # never a folder that is something else
            shutil.rmtree(folder.path)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.write_samples(samples)
        fresh = {"status": "queued", "error": None, "detached": False, "process": processes.identity()}
        folder.write(state | fresh)


def prepare(
    ds: datasets.Dataset,
    model: str | Path,
    output_dir: str | Path,
    heldout: datasets.Dataset | None = None,
    *,
    overwrite: bool = False,
    **settings,
) -> RunFolder:
    """A folder with all that a run of `finetune` needs, not started yet."""
    settings = settings_of(settings)
    check_hardware(settings)
    quality.check(settings, heldout)
    folder = RunFolder(Path(output_dir))
    check_free(folder, overwrite)
    samples, summary = samples_of(ds, model, settings)
    state = {"model": lasting_name(model), "settings": asdict(settings), "summary": summary}
    create(folder, samples, state, overwrite)
    if heldout is not None:
        quality.write(heldout, folder.heldout_file)
    return folder


def claim(folder: RunFolder, **changes) -> None:
    """Make this process the one that runs `folder`; the caller holds `processes.starting`."""
    state = folder.read()
    if state["status"] == "done" or _goes_on(folder, state):
        raise UserError(f"the run in {folder.path} is {state['status']}; only an ended one can be resumed.")
    if not folder.samples_file.exists():
        raise UserError(
            f"the run in {folder.path} is one of several processes; go on with its launch.sh --resume."
        )
    folder.stop_file.unlink(missing_ok=True)
    folder.write(state | {"status": "queued", "error": None, "process": processes.identity()} | changes)

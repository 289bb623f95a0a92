"""Starting runs, and telling those that go on from those whose process is gone."""

import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from ..core.errors import UserError
from ..lm.prompts import Sample
from . import failures, job, process, queue
from .folder import RunFolder

ACTIVE = ("queued", "running")


def state_of(folder: RunFolder) -> dict:
    """What run.json says; if the process is gone that would have to say more, it is told there first."""
    state = folder.read()
    if not _is_lost(folder, state):
        return state
    with queue.starting():
        state = folder.read()  # the last words may have come meanwhile, or a new start
        if _is_lost(folder, state):
            state |= {"status": "failed", "error": failures.gone(state, folder)}
            with suppress(PermissionError):  # somebody else's folder
                folder.write(state)
    return state


def _is_lost(folder: RunFolder, state: dict) -> bool:
    if state["status"] not in ACTIVE:
        return False
    if process.is_this(state["process"]):
        return thread_of(folder) is None
    return not process.is_alive(state["process"], folder.state_file)


def _goes_on(folder: RunFolder, state: dict) -> bool:
    return state["status"] in ACTIVE and not _is_lost(folder, state)


def thread_of(folder: RunFolder) -> threading.Thread | None:
    """The thread of this process in which the run lives."""
    name = _thread_name(folder)
    return next((thread for thread in threading.enumerate() if thread.name == name), None)


def _thread_name(folder: RunFolder) -> str:
    return f"finetune {folder.path.resolve()}"


def is_elsewhere(folder: RunFolder) -> bool:
    """Whether the run goes on at another machine."""
    state = folder.read()
    return _goes_on(folder, state) and not process.is_here(state["process"])


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
    with queue.starting():
        check_free(folder, overwrite)  # another process may have been faster
        if folder.state_file.exists():  # never a folder that is something else
            shutil.rmtree(folder.path)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.write_samples(samples)
        fresh = {"status": "queued", "error": None, "detached": False, "process": process.identity()}
        folder.write(state | fresh)


def claim(folder: RunFolder, **changes) -> None:
    """Make this process the one that runs `folder`; the caller holds `queue.starting`."""
    state = folder.read()
    if state["status"] == "done" or _goes_on(folder, state):
        raise UserError(f"the run in {folder.path} is {state['status']}; only an ended one can be resumed.")
    if not folder.samples_file.exists():
        raise UserError(
            f"the run in {folder.path} is one of several processes; go on with its launch.sh --resume."
        )
    folder.stop_file.unlink(missing_ok=True)
    folder.write(state | {"status": "queued", "error": None, "process": process.identity()} | changes)


def start(folder: RunFolder, detached: bool) -> None:
    """Run `folder` in a thread, or in a process that goes on without this one."""
    with queue.starting():
        claim(folder, detached=detached)
        if detached:
            folder.update(process=process.identity(_spawn(folder)))
        else:
            threading.Thread(target=job.work, args=(folder,), name=_thread_name(folder)).start()


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

"""Create run folders, claim them for a process, and tell live runs from those whose process is gone."""

import tempfile
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import datasets

from ..core.errors import UserError
from ..lm.adapters import base_of
from ..lm.prompts import Sample
from . import failures, processes, quality
from .folder import RunFolder
from .schedule import samples_of
from .settings import settings_of
from .trainable import check_hardware, check_memory

ACTIVE = ("queued", "running")


def state_of(folder: RunFolder) -> dict:
    """Return the content of run.json, after marking the run as failed there if its process is gone."""
    state = folder.read()
    if not _is_lost(folder, state):
        return state
    with processes.start_lock():
        state = folder.read()  # the run may have ended, or started again, in the meantime
        if _is_lost(folder, state):
            state |= {"status": "failed", "error": failures.describe_lost(state, folder)}
            with suppress(PermissionError):  # the folder belongs to another user
                folder.write(state)
    return state


def error_of(folder: RunFolder) -> UserError | None:
    """Return why the run failed, what to do next and the last lines of the log; None if it did not fail."""
    text = state_of(folder)["error"]
    return UserError(f"The run in {folder.path} failed: {text}") if text else None


def _is_lost(folder: RunFolder, state: dict) -> bool:
    """Whether run.json claims that the run is active but nothing works on it any more."""
    if state["status"] not in ACTIVE:
        return False
    if processes.is_this(state["process"]):
        return thread_of(folder) is None
    return not processes.is_alive(state["process"], folder.state_file)


def _is_active(folder: RunFolder, state: dict) -> bool:
    return state["status"] in ACTIVE and not _is_lost(folder, state)


def thread_of(folder: RunFolder) -> threading.Thread | None:
    """Return the thread of this process that trains the run, or None."""
    name = thread_name(folder)
    return next((thread for thread in threading.enumerate() if thread.name == name), None)


def thread_name(folder: RunFolder) -> str:
    return f"finetune {folder.path.resolve()}"


def is_elsewhere(folder: RunFolder) -> bool:
    """Whether the run is active on another machine."""
    state = folder.read()
    return _is_active(folder, state) and not processes.is_here(state["process"])


def check_free(folder: RunFolder, overwrite: bool) -> None:
    """Raise UserError if a new run must not use `folder`."""
    name = f"output_dir={str(folder.path)!r}"
    if not folder.state_file.exists():
        for part in folder.parts:
            if part.exists():
                kind = "/" if part.is_dir() else ""
                raise UserError(f"{name} holds {part.name}{kind}, but no run; choose another folder.")
    elif _is_active(folder, folder.read()):
        raise UserError(f"{name} holds a run that is still active; wait() for it or stop() it.")
    elif not overwrite:
        raise UserError(
            f"{name} already holds a run; open it with wb.attach, choose another folder, "
            f"or pass overwrite=True."
        )


def lasting_name(model: str | Path) -> str:
    """Return the full path of a model folder, since a run may resume in another working directory; return
    any other model name as it is."""
    return str(Path(model).resolve()) if Path(model).is_dir() else str(model)


def create(
    folder: RunFolder,
    samples: list[Sample],
    heldout: datasets.Dataset | None,
    state: dict,
    overwrite: bool,
) -> None:
    """Write a new run to `folder`. It replaces an earlier run there once all of its files are written."""
    with processes.start_lock():
        check_free(folder, overwrite)  # again: another process may have created a run in the meantime
        folder.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-run-", dir=folder.path) as scratch:
            staged = RunFolder(Path(scratch))
            staged.write_samples(samples)
            if heldout is not None:
                quality.write(heldout, staged.heldout_file)
            initial = {"status": "queued", "error": None, "detached": False, "process": processes.identity()}
            staged.write(state | initial)
            folder.replace_by(staged)


def _check_not_within(folder: RunFolder, model: str | Path) -> None:
    """Raise UserError if overwriting `folder` would remove `model`, or the base of the adapter `model`."""
    path = Path(model)
    while path is not None and path.is_dir():
        if path.resolve().is_relative_to(folder.path.resolve()):
            raise UserError(
                f"model={str(model)!r} needs {path}, which overwrite=True would remove with the run in "
                f"{folder.path}; choose another output_dir."
            )
        base = base_of(path)
        path = None if base is None else Path(base)


def prepare(
    ds: datasets.Dataset,
    model: str | Path,
    output_dir: str | Path,
    heldout: datasets.Dataset | None = None,
    *,
    overwrite: bool = False,
    **settings,
) -> RunFolder:
    """Check the arguments of `finetune` and return a folder with everything the run needs, without starting
    it."""
    settings = settings_of(settings)
    check_hardware(settings)
    quality.check(settings, heldout)
    folder = RunFolder(Path(output_dir))
    check_free(folder, overwrite)
    _check_not_within(folder, model)
    check_memory(model, settings)
    samples, summary = samples_of(ds, model, settings)
    state = {"model": lasting_name(model), "settings": asdict(settings), "summary": summary}
    create(folder, samples, heldout, state, overwrite)
    return folder


def claim(folder: RunFolder, **changes) -> None:
    """Record this process as the one that runs `folder`. The caller holds `processes.start_lock`.

    Raises UserError if the run is done or active, or if it was started by `workbench launch`.
    """
    state = folder.read()
    if state["status"] == "done" or _is_active(folder, state):
        raise UserError(
            f"the run in {folder.path} is {state['status']}; only a stopped or failed run can be resumed."
        )
    if not folder.samples_file.exists():
        raise UserError(
            f"the run in {folder.path} was started by `workbench launch`; "
            "run its launch.sh again to resume it."
        )
    folder.stop_file.unlink(missing_ok=True)
    folder.write(state | {"status": "queued", "error": None, "process": processes.identity()} | changes)

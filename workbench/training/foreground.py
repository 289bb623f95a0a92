"""A run in the calling process, for schedulers: it ends when they ask, and the same command resumes it."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import datasets

from ..core import tables
from ..core.errors import UserError
from . import job, launch, queue
from .folder import RunFolder
from .run import attach, prepare
from .settings import settings_of

_EVERY = 1.0  # seconds between looks at a run of another machine


def run_here(
    ds: datasets.Dataset, model: str, output_dir: Path, heldout: datasets.Dataset | None = None, **settings
) -> int:
    """Train as `finetune` does, in this thread, and print the log; returns the exit code of `job.main`.

    Where `output_dir` holds the same run, stopped or failed, it goes on from its last checkpoint.
    """
    folder = RunFolder(output_dir, echo=True)
    if folder.state_file.exists():
        _check_same(folder, ds, model, settings)
        _await_other_machines(folder)
        if launch.state_of(folder)["status"] == "done":
            print(f"{output_dir}: done before")
            return 0
    else:
        prepare(ds, model, output_dir, heldout, **settings)
    with queue.starting():
        launch.claim(folder, detached=False)
    code = job.main(folder)
    if error := attach(output_dir).error:
        print(f"workbench: {error}", file=sys.stderr)
    return code


def _await_other_machines(folder: RunFolder) -> None:
    """A scheduler may start a run anew before the silence of the machine that it lost is long enough."""
    if launch.is_elsewhere(folder):
        folder.log(f"waiting: the run goes on at {folder.read()['process']['host']}, or did a moment ago")
    while launch.is_elsewhere(folder):
        time.sleep(_EVERY)


def _check_same(folder: RunFolder, ds: datasets.Dataset, model: str, settings: dict) -> None:
    """Raise if the run in `folder` is another than these make."""
    there = folder.read()
    found = there["settings"] | {"model": there["model"], "rows": there["summary"]["rows_sha256"]}
    wanted = asdict(settings_of(settings))
    wanted |= {"model": launch.lasting_name(model), "rows": tables.rows_sha256(ds)}
    for name, value in wanted.items():
        if found.get(name) != value:
            raise UserError(
                f"output_dir={str(folder.path)!r} holds a run with {name}={found.get(name)!r}, "
                f"not {value!r}; choose another folder."
            )

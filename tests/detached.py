"""Detached runs for tests: processes of their own, forked from one with everything imported already."""

import multiprocessing
import os
import signal
import time

import torch

from workbench.training import job, loop
from workbench.training.folder import RunFolder

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["workbench.training", "transformers.models.llama.modeling_llama", "peft"])


def spawn(folder: RunFolder, die_in: str | None = None) -> int:
    """Stands in for `job._spawn`; `die_in` names a place to be killed at, on second arrival."""
    child = _server.Process(target=_run, args=(folder.path, dict(os.environ), die_in), daemon=True)
    child.start()
    return child.pid


def _run(path, environment: dict, die_in: str | None) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    RunFolder.append = slowly(RunFolder.append)
    if die_in:
        _die_in(die_in)
    os._exit(job.main(RunFolder(path)))


def slowly(append):
    """`RunFolder.append` that lets each step last as long as a test needs to see it."""

    def appended(folder, record):
        append(folder, record)
        time.sleep(0.01)

    return appended


def _die_in(place: str) -> None:
    """Let this process be killed when it is about to do `place` for the second time."""
    owner = loop.checkpoints if hasattr(loop.checkpoints, place) else loop._PlanTrainer
    does, arrivals = getattr(owner, place), []

    def killed(*args, **kwargs):
        arrivals.append(place)
        if len(arrivals) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return does(*args, **kwargs)

    setattr(owner, place, killed)

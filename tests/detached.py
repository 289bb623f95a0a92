"""Detached runs for tests: processes forked from one that has imported everything already."""

import multiprocessing
import os
import signal
import sys
import time

import pytest
import torch

from workbench.training import job, loop
from workbench.training.folder import RunFolder

UNFORKABLE = pytest.mark.skipif(sys.platform != "linux", reason="forks a process that holds PyTorch")
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["workbench.training", "transformers.models.llama.modeling_llama", "peft"])


def spawn(folder: RunFolder, die_in: str | None = None) -> int:
    """Replace `job._spawn`. The process is killed in its second call of the function named `die_in`."""
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
    """Wrap `RunFolder.append` so that each step lasts long enough for a test to see it."""

    def append_slowly(folder, record):
        append(folder, record)
        time.sleep(0.01)

    return append_slowly


def _die_in(name: str) -> None:
    """Kill this process at the start of its second call of the function `name`."""
    owner = loop.checkpoints if hasattr(loop.checkpoints, name) else loop._PlanTrainer
    function, calls = getattr(owner, name), []

    def killed(*args, **kwargs):
        calls.append(name)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(owner, name, killed)

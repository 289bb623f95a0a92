"""Which process a run lives in, and whether it still does."""

import os
import socket
import sys
import time
from pathlib import Path

import psutil

BEAT = 15.0  # seconds between signs of life
_SILENCE = 180.0  # seconds without one after which a process on another machine counts as gone


def identity(pid: int | None = None) -> dict:
    """What tells a process (by default this one) from a later one that got its `pid`."""
    pid = pid or os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "birth": _birth(pid)}


def is_here(process: dict) -> bool:
    """Whether the process of that `identity` is one of this machine."""
    return process["host"] == socket.gethostname()


def is_this(process: dict) -> bool:
    """Whether it may be this very process: its id is the same."""
    return is_here(process) and process["pid"] == os.getpid()


def is_alive(process: dict, sign_of_life: Path) -> bool:
    """Whether the process of that `identity` still runs.

    Processes of another machine cannot be asked: they live as long as they touch the file `sign_of_life`.
    """
    if not is_here(process):
        return time.time() - sign_of_life.stat().st_mtime < _SILENCE
    birth = _birth(process["pid"])
    return birth is not None and abs(birth - process["birth"]) < 2


def _birth(pid: int) -> float | None:
    """When the process began, in seconds of a clock that nobody sets; None where it has ended."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # killed, and its parent has not asked yet
            return None
        # Linux counts from the start of the machine, and psutil adds that start as the clock has it now.
        zero = psutil.boot_time() if sys.platform == "linux" else 0.0
        return round(process.create_time() - zero, 2)
    except psutil.Error:  # none, or somebody else's
        return None


def machine_restarted_since(moment: float) -> bool:
    """Whether this machine was started after `moment` (seconds since the epoch)."""
    return psutil.boot_time() > moment

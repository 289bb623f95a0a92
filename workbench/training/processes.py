"""Processes that train: which of them live, and whose turn it is on a device.

A turn is a lock on a file, which the system takes from a process that dies: a dead run never blocks another.
"""

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch
import torch.distributed as dist
from filelock import FileLock, Timeout

from ..core.store import cache_dir

_BEAT = 15.0  # seconds between signs of life
_SILENCE = 180.0  # seconds without one after which a process on another machine counts as gone
_EVERY = 0.2  # seconds between two tries


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


@contextmanager
def signs_of_life(file: Path) -> Iterator[None]:
    """Within this context, `file` is touched regularly: other machines see only that."""
    done = threading.Event()

    def beat():
        while not done.wait(_BEAT):
            with suppress(OSError):
                file.touch()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def starting() -> FileLock:
    """Held while a run is started or found dead, so that two processes never start the same one."""
    return FileLock(cache_dir() / "runs.lock")


@contextmanager
def turn(device: str, should_stop: Callable[[], bool], say: Callable[[str], None]) -> Iterator[bool]:
    """Wait until no other run uses `device`, and keep it; gives False where `should_stop` came first."""
    lock = FileLock(cache_dir() / f"device-{_name(device)}.lock")
    told = False
    while not should_stop():
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not told:
                say(f"queued: another run uses {device}")
                told = True
            time.sleep(_EVERY)
        else:
            try:
                yield True
            finally:
                lock.release()
            return
    yield False


def _name(device: str) -> str:
    """Of the very device: machines may share a cache, and "cuda" is another GPU in each cluster job."""
    if device.startswith("cuda"):
        device = str(torch.cuda.get_device_properties(torch.device(device)).uuid)
    return re.sub(r"\W+", "-", f"{socket.gethostname()}-{device}")


def agreed(wish: bool) -> bool:
    """Whether any process has the wish: all must stop after the same step."""
    if not dist.is_initialized():
        return wish
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    found = torch.tensor(int(wish), device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return bool(found)


def wait() -> None:
    """Return when all processes are here."""
    if dist.is_initialized():
        dist.barrier()

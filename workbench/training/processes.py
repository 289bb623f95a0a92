"""The processes that train: whether one is still alive, whose turn it is on a device, and what they agree on.

Runs take turns on a device, across all processes of a user, because running at once would only slow them
down. A turn is a lock on a file. The operating system releases it when a process dies, so a dead run never
blocks another.
"""

import os
import re
import socket
import subprocess
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

_HEARTBEAT = 15.0  # seconds between heartbeats
_SILENCE = 180.0  # seconds without a heartbeat after which a process on another machine counts as dead
_RETRY = 0.2  # seconds between two attempts to take a turn


def spawn(module: str, folder: Path, log_file: Path) -> int:
    """Start `python -m module folder` as a process that outlives this one and writes to `log_file`; return
    its pid."""
    path = os.pathsep.join(filter(None, sys.path))  # a notebook may have extended sys.path
    with log_file.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", module, str(folder.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # survives the end of the kernel or terminal
        )
    threading.Thread(target=child.wait, daemon=True).start()  # reap the child, so it does not stay a zombie
    return child.pid


def identity(pid: int | None = None) -> dict:
    """Return host, pid and start time of a process (by default this one), which tell it from a later one
    with the same pid."""
    pid = pid or os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "birth": _birth(pid)}


def is_here(process: dict) -> bool:
    """Whether the process with this `identity` belongs to this machine."""
    return process["host"] == socket.gethostname()


def is_this(process: dict) -> bool:
    """Whether the process with this `identity` has the host and pid of the calling process."""
    return is_here(process) and process["pid"] == os.getpid()


def is_alive(process: dict, heartbeat: Path) -> bool:
    """Whether the process with this `identity` still runs.

    A process on another machine cannot be looked up. It counts as alive while it touches the file
    `heartbeat`.
    """
    if not is_here(process):
        return time.time() - heartbeat.stat().st_mtime < _SILENCE
    birth = _birth(process["pid"])
    return birth is not None and abs(birth - process["birth"]) < 2


def _birth(pid: int) -> float | None:
    """Return the start time of a process in seconds, on a clock that is never adjusted; None if it has
    ended."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # killed, but not yet reaped by its parent
            return None
        # Linux counts from boot. psutil adds the boot time, which changes when the system clock is set.
        zero = psutil.boot_time() if sys.platform == "linux" else 0.0
        return round(process.create_time() - zero, 2)
    except psutil.Error:  # no such process, or no permission to read it
        return None


def machine_restarted_since(moment: float) -> bool:
    """Whether this machine was started after `moment` (seconds since the epoch)."""
    return psutil.boot_time() > moment


@contextmanager
def heartbeat(file: Path) -> Iterator[None]:
    """Touch `file` regularly within this context, so that other machines see that this process is alive."""
    done = threading.Event()

    def beat():
        while not done.wait(_HEARTBEAT):
            with suppress(OSError):
                file.touch()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def start_lock() -> FileLock:
    """Return the lock to hold while a run is started or declared dead, so that no run is started twice."""
    return FileLock(cache_dir() / "runs.lock")


@contextmanager
def turn(device: str, should_stop: Callable[[], bool], log: Callable[[str], None]) -> Iterator[bool]:
    """Wait until no other run uses `device`, then hold it within this context.

    Yields True, or False if `should_stop()` became true while waiting.
    """
    lock = FileLock(cache_dir() / f"device-{_name(device)}.lock")
    is_logged = False
    while not should_stop():
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not is_logged:
                log(f"queued: another run uses {device}")
                is_logged = True
            time.sleep(_RETRY)
        else:
            try:
                yield True
            finally:
                lock.release()
            return
    yield False


def _name(device: str) -> str:
    """Return a name of the physical device: machines may share a cache folder, and "cuda" is a different GPU
    in each cluster job."""
    if device.startswith("cuda"):
        device = str(torch.cuda.get_device_properties(torch.device(device)).uuid)
    return re.sub(r"\W+", "-", f"{socket.gethostname()}-{device}")


def count() -> int:
    """Return the number of processes of a distributed training; 1 without `torch.distributed`."""
    return dist.get_world_size() if dist.is_initialized() else 1


def any_process(flag: bool) -> bool:
    """Whether `flag` is true in any process of a distributed training. All of them must call this.

    Without `torch.distributed`, returns `flag`. A distributed training stops or saves only if all processes
    do so after the same step.
    """
    if not dist.is_initialized():
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    flags = torch.tensor(int(flag), device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


def barrier() -> None:
    """Wait until all processes of a distributed training have reached this call."""
    if dist.is_initialized():
        dist.barrier()

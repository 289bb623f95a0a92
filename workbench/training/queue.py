"""Runs take turns on a device, across all processes of a user: they would only slow each other down.

A turn is a lock on a file, which the system takes from a process that dies: a dead run never blocks another.
"""

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from filelock import FileLock, Timeout

from ..core.store import cache_dir

_EVERY = 0.2  # seconds between two tries


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

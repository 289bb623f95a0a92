"""Runs as forks of a Python that stands ready (`inside/forkserver.py`), for callers that start many."""

import os
import select
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .process import Level, spawn, spawned

_NUMBER = struct.Struct("=i")


@contextmanager
def starter(at: Level) -> Iterator[Callable]:
    """What starts a run at this level; in bubblewrap no fork, for each run has namespaces of its own."""
    if at.bubblewrap:
        yield spawn
        return
    server = ForkServer()
    try:
        yield server.start
    finally:
        server.close()


class ForkServer:
    """`start` begins a run; the one before it must have ended. The server dies with its caller."""

    def __init__(self):
        self._process, self._control = None, None

    def start(self, at: Level) -> tuple["Fork", int]:
        """The run and its process id; OSError where it cannot be started."""
        if self._process is None or self._process.poll() is not None:
            self._serve()
        fork = Fork(self._control)
        return fork, fork.pid

    def close(self) -> None:
        if self._process is not None:
            self._control.close()
            self._process.wait()

    def _serve(self) -> None:
        self._control, there = socket.socketpair()
        with there:
            number = there.fileno()
            self._process = spawned("forkserver.py", str(number), pass_fds=[number])


class Fork:
    """What `process.Process` uses of a `subprocess.Popen`."""

    def __init__(self, control: socket.socket):
        self._control, self._code = control, None
        (job, into), (out, results) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(into, "wb", 0), os.fdopen(out, "rb", 0)
        try:
            socket.send_fds(control, [b"\0"], [job, results])
            self.pid = self._told()
        finally:
            os.close(job)
            os.close(results)

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            if not select.select([self._control], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a fork", timeout)
            self._code = self._told()
        return self._code

    def _told(self) -> int:
        number = self._control.recv(_NUMBER.size)
        if not number:
            raise ConnectionError("the process that starts runs is gone")
        return _NUMBER.unpack(number)[0]

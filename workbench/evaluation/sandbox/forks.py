"""Start runs as forks of a waiting Python process (`inside/forkserver.py`), for callers that start many."""

import os
import select
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .process import Level, spawn, start_script

_NUMBER = struct.Struct("=i")


@contextmanager
def starter(level: Level) -> Iterator[Callable]:
    """Yields the function that starts runs at `level`, for `Process(..., start=)`.

    With bubblewrap there are no forks, because each run needs namespaces of its own.
    """
    if level.bubblewrap:
        yield spawn
        return
    server = ForkServer()
    try:
        yield server.start
    finally:
        server.close()


class ForkServer:
    """Starts runs, one at a time: the previous run must have ended. The server process ends with its
    caller."""

    def __init__(self):
        self._process, self._control = None, None

    def start(self, level: Level) -> tuple["Fork", int]:
        """Start a run. Returns it and its process id; raises OSError if it cannot start."""
        if self._process is None or self._process.poll() is not None:
            self._serve()
        fork = Fork(self._control)
        return fork, fork.pid

    def close(self) -> None:
        if self._process is not None:
            self._control.close()
            self._process.wait()

    def _serve(self) -> None:
        self._control, other_end = socket.socketpair()
        with other_end:
            number = other_end.fileno()
            self._process = start_script("forkserver.py", str(number), pass_fds=[number])


class Fork:
    """A running fork, with the part of `subprocess.Popen`'s interface that `process.Process` uses."""

    def __init__(self, control: socket.socket):
        self._control, self._code = control, None
        (job, job_writer), (results_reader, results) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(job_writer, "wb", 0), os.fdopen(results_reader, "rb", 0)
        try:
            socket.send_fds(control, [b"\0"], [job, results])
            self.pid = self._receive_number()
        finally:
            os.close(job)
            os.close(results)

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            if not select.select([self._control], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a fork", timeout)
            self._code = self._receive_number()
        return self._code

    def _receive_number(self) -> int:
        number = self._control.recv(_NUMBER.size)
        if not number:
            raise ConnectionError("the process that starts runs is gone")
        return _NUMBER.unpack(number)[0]

"""Worker processes that judge requests side by side. A worker that dies or hangs is replaced."""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ...core.cpus import cpu_count
from .. import sandbox
from ..sandbox.process import SandboxError, cpu_seconds
from .evalplus import python_path

_CPU_SECONDS = 60.0  # limit of a worker itself on one request, without the code that it judges
_POLL_SECONDS = 0.5  # between two readings of a worker's CPU clock
_END_SECONDS = 5.0  # wall-clock time for an idle worker to end by itself
_PACKAGE = Path(__file__).resolve().parents[3]


class WorkerPool:
    """Sends requests to worker processes (`worker.Worker` lists them), by default as many as there are cores.

    A context manager: leaving it ends the workers. `cpu_seconds` limits a worker's own CPU time on one
    request. Raises SandboxError if this machine cannot confine code.
    """

    def __init__(self, workers: int | None = None, cpu_seconds: float = _CPU_SECONDS):
        self.level = sandbox.level()
        self.workers = workers or cpu_count()
        self._cpu_seconds = cpu_seconds
        self._threads = ThreadPoolExecutor(self.workers)  # each thread has a worker of its own
        self._thread = threading.local()
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, exception, *_) -> None:
        if exception:  # do not wait for requests that are still running
            for process in self._processes:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            _end(process, 0 if exception else _END_SECONDS)

    def map(self, requests: Iterable[dict]) -> Iterator[dict]:
        """The reply to each request, in order; {"failed": reason} if the worker gave none."""
        return self._threads.map(self._exchange, requests)

    def submit(self, request: dict) -> Future:
        """The future reply to one request."""
        return self._threads.submit(self._exchange, request)

    def _exchange(self, request: dict) -> dict:
        process = getattr(self._thread, "process", None) or self._start()
        line = _exchange_lines(process, json.dumps(request).encode() + b"\n", self._cpu_seconds)
        if line is None:
            _end(process)
            self._thread.process = None
            return {"failed": "the judging process ran out of time or memory"}
        if "unconfined" in (reply := json.loads(line)):
            raise SandboxError(reply["unconfined"])
        return reply

    def _start(self) -> subprocess.Popen:
        flags = [str(int(flag)) for flag in (self.level.landlock, self.level.bubblewrap)]
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench.evaluation.judging.worker", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": python_path(_PACKAGE), "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self._processes.append(process)
        if not process.stdout.readline():
            reason = process.stderr.read().decode(errors="replace")
            raise RuntimeError(f"the judging process did not start: {reason}")
        # Keep reading, so that the pipe never fills up.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        self._thread.process = process
        return process


def _exchange_lines(process: subprocess.Popen, request: bytes, limit: float) -> bytes | None:
    """Send one line and return the reply, or None if the process is gone or uses more than `limit` CPU
    seconds."""
    started = cpu_seconds(process.pid)
    try:
        process.stdin.write(request)
        process.stdin.flush()
        while not select.select([process.stdout], [], [], _POLL_SECONDS)[0]:
            if cpu_seconds(process.pid) - started > limit:
                return None
    except OSError:
        return None
    return process.stdout.readline() or None


def _end(process: subprocess.Popen, seconds: float = 0.0) -> None:
    """Wait up to `seconds` for the process to end, then kill it."""
    with suppress(BrokenPipeError):
        process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.wait()
    process.stdout.close()

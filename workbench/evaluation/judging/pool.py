"""A few judge processes at work side by side; one that dies or hangs over a sample is replaced."""

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

from .. import sandbox
from ..sandbox.process import SandboxError, cpu_seconds
from .evalplus import python_path

_CPU_SECONDS = 60.0  # that the judge itself, without what it judges, may spend on one request
_LOOK_SECONDS = 0.5  # between two looks at the judge's CPU clock
_END_SECONDS = 5.0  # that an idle judge is given to end
_PACKAGE = Path(__file__).resolve().parents[3]


class Judges:
    """`map` sends requests to as many processes as there are cores; leaving the context ends them."""

    def __init__(self, workers: int | None = None, cpu_seconds: float = _CPU_SECONDS):
        self.level = sandbox.level()  # raises where code cannot be confined
        self.workers = workers or os.cpu_count() or 1
        self._cpu_seconds = cpu_seconds
        self._pool = ThreadPoolExecutor(self.workers)
        self._own = threading.local()
        self._started: list[subprocess.Popen] = []

    def __enter__(self) -> "Judges":
        return self

    def __exit__(self, exception, *_) -> None:
        if exception:  # do not wait for what is being judged
            for process in self._started:
                process.kill()
        self._pool.shutdown(cancel_futures=True)
        for process in self._started:
            _end(process, 0 if exception else _END_SECONDS)

    def map(self, requests: Iterable[dict]) -> Iterator[dict]:
        """The answer to each request, in their order; {"failed": why} where the judge gave none."""
        return self._pool.map(self._ask, requests)

    def ask(self, request: dict) -> Future:
        """The same for one request, later."""
        return self._pool.submit(self._ask, request)

    def _ask(self, request: dict) -> dict:
        process = getattr(self._own, "process", None) or self._start()
        answer = _exchange(process, json.dumps(request).encode() + b"\n", self._cpu_seconds)
        if answer is None:
            _end(process)
            self._own.process = None
            return {"failed": "the judge ran out of time or memory over it"}
        if "unconfined" in (answer := json.loads(answer)):
            raise SandboxError(answer["unconfined"])
        return answer

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
        self._started.append(process)
        if not process.stdout.readline():
            raise RuntimeError(f"the judge did not start: {process.stderr.read().decode(errors='replace')}")
        threading.Thread(target=process.stderr.read, daemon=True).start()  # whatever it says later
        self._own.process = process
        return process


def _exchange(process: subprocess.Popen, request: bytes, most_seconds: float) -> bytes | None:
    """One line for one line; None where the process is gone or has worked for too long."""
    started = cpu_seconds(process.pid)
    try:
        process.stdin.write(request)
        process.stdin.flush()
        while not select.select([process.stdout], [], [], _LOOK_SECONDS)[0]:
            if cpu_seconds(process.pid) - started > most_seconds:
                return None
    except OSError:
        return None
    return process.stdout.readline() or None


def _end(process: subprocess.Popen, seconds: float = 0.0) -> None:
    """Killed, if it does not end of its own accord within so many seconds."""
    with suppress(BrokenPipeError):
        process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    process.wait()
    process.stdout.close()

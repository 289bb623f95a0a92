"""A confined process: started, listened to within its limits, killed."""

import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...core.errors import UserError
from . import seccomp

MEMORY_BYTES = 4 * 2**30  # EvalPlus's limit
LINE_BYTES = 16 * 2**20  # of one answer
START_SECONDS = 10.0  # of CPU time, for the interpreter to start and confine itself
_READ_BYTES = 2**16
# The clock may show so many times the CPU limit of one answer, and of all: the machine may be busy.
_WALL, _WALL_IN_ALL = 10, 4
_LOOK_SECONDS = 0.02  # between two looks at the process's CPU clock
_INSIDE = Path(__file__).parent / "inside"
_PYTHON = ("-s", "-S", "-B")
# The order of a set of strings follows the hash seed: a verdict must not.
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}


class SandboxError(UserError):
    """Code cannot be confined here, so it is not run."""


@dataclass(frozen=True)
class Level:
    """What confines a run besides limits and seccomp, which always do."""

    landlock: bool
    bubblewrap: bool

    def __str__(self) -> str:
        return "seccomp" + "+landlock" * self.landlock + "+bubblewrap" * self.bubblewrap


class Process:
    """One confined run. `next()` is what it says next; leaving the context kills it.

    `inputs` is a JSON list of argument lists on the wire; `total_seconds` the CPU time that the whole run may
    take, and `_WALL_IN_ALL` times that by the clock. `start` makes the process (`spawn`, or `forks.starter`).
    """

    def __init__(self, code, entry_point=None, inputs="[]", total_seconds=60.0, *, at: Level, start=None):
        self._total = total_seconds
        self._lines, self._rest, self._ended = [], bytearray(), False
        self._process, self._pid = (start or spawn)(at)
        self._pipe = self._process.stdout.fileno()
        self._started = self._line_wall = time.monotonic()
        self._line_cpu = 0.0
        os.set_blocking(self._pipe, False)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        with suppress(BrokenPipeError):  # what it did not read, its end will tell
            self._process.stdin.write(_job(code, entry_point, inputs, total_seconds, at))
            self._process.stdin.close()
        if (said := self.next(START_SECONDS)) != ["ready"]:
            self.__exit__()
            raise SandboxError(f"the sandbox ({at}) did not come up: {said[-1]}")

    def __enter__(self):
        return self

    def __exit__(self, *exception) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def next(self, seconds: float) -> list:
        """The next line, waited for as long as the process takes no more than `seconds` of CPU time and
        `_WALL` times that by the clock; else ["timeout" | "ended" | "blocked" | "garbled", why]."""
        self._read()
        while not self._lines:
            if self._ended:
                return self._why_ended()
            if why := self._over(seconds):
                return ["timeout", why]
            if len(self._rest) > LINE_BYTES:
                return ["garbled", f"an answer larger than {LINE_BYTES / 2**20:.0f} MiB"]
            self._poll.poll(_LOOK_SECONDS * 1000)
            self._read()
        line = self._lines.pop()
        try:
            said = json.loads(line)
            if isinstance(said, list) and said and isinstance(said[0], str):
                return said
        except (ValueError, RecursionError):
            pass
        return ["garbled", "the program wrote among its answers"]

    def _read(self) -> None:
        """Take in what has come, up to the end of a line."""
        while not self._lines and not self._ended and len(self._rest) <= LINE_BYTES:
            try:
                data = os.read(self._pipe, _READ_BYTES)
            except BlockingIOError:
                return
            self._ended = not data
            self._rest += data
            if b"\n" in data:
                *lines, rest = self._rest.split(b"\n")
                self._lines, self._rest = lines[::-1], bytearray(rest)
                self._line_wall, self._line_cpu = time.monotonic(), self._cpu()

    def _over(self, seconds: float) -> str | None:
        now, cpu = time.monotonic(), self._cpu()
        if cpu - self._line_cpu > seconds:
            return f"no answer within {seconds:.3g} s of CPU time"
        if cpu > self._total:
            return f"more than {self._total:.3g} s of CPU time in all"
        if now - self._line_wall > _WALL * seconds:
            return f"no answer within {_WALL * seconds:.3g} s"
        if now - self._started > _WALL_IN_ALL * self._total:
            return f"no end within {_WALL_IN_ALL * self._total:.3g} s"
        return None

    def _cpu(self) -> float:
        try:
            return cpu_seconds(self._pid)
        except OSError:  # it is gone
            return self._line_cpu

    def _why_ended(self) -> list:
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return ["ended", "the program closed its answers"]
        if code in (-signal.SIGSYS, 128 + signal.SIGSYS):  # the second from bubblewrap
            return ["blocked", "a system call that the sandbox refuses"]
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return ["ended", "killed, most likely for lack of memory"]
        if code < 0:
            return ["ended", f"the program crashed ({signal.Signals(-code).name})"]
        if code:
            return ["ended", f"the program ended itself with exit code {code}"]
        return ["ended", "the program ended itself before its checks were done"]


def cpu_seconds(pid: int) -> float:
    """CPU time of process `pid` so far, from the clock that Linux keeps for it; OSError where it is gone."""
    return time.clock_gettime(~pid << 3 | 2)


def spawn(at: Level) -> tuple[subprocess.Popen, int]:
    """A process that waits for its job, and the number under which this one sees the Python in it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    if not at.bubblewrap:
        process = spawned("child.py", **pipes)
        return process, process.pid
    read, write = os.pipe()
    wrapper = [*_bubblewrap(_python()), "--info-fd", str(write)]
    process = spawned("child.py", wrapper=wrapper, pass_fds=[write], **pipes)
    os.close(write)
    with os.fdopen(read, "rb") as info:
        told = info.read()
    return process, json.loads(told)["child-pid"] if told else process.pid


def spawned(script: str, *arguments: str, wrapper: Sequence[str] = (), **more) -> subprocess.Popen:
    """A Python without site-packages, environment and standard streams that runs `script` of `inside`."""
    null = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    return subprocess.Popen(
        [*wrapper, _python(), *_PYTHON, str(_INSIDE / script), *arguments],
        **{"cwd": "/", "env": _ENVIRONMENT, "start_new_session": True, **null, **more},
    )


def _python() -> str:
    return getattr(sys, "_base_executable", None) or sys.executable


def _bubblewrap(python: str) -> list[str]:
    places = [*readable(), str(_INSIDE), python]
    binds = [part for place in places if Path(place).exists() for part in ("--ro-bind", place, place)]
    sealed = ["--unshare-all", "--as-pid-1", "--die-with-parent", "--cap-drop", "ALL", "--clearenv"]
    seeds = [part for name, value in _ENVIRONMENT.items() for part in ("--setenv", name, value)]
    return [shutil.which("bwrap"), *sealed, *seeds, *binds, "--dev", "/dev", "--chdir", "/"]


def _job(code: str, entry_point: str | None, inputs: str, total_seconds: float, at: Level) -> bytes:
    limits = {
        "RLIMIT_AS": MEMORY_BYTES,
        "RLIMIT_STACK": MEMORY_BYTES,  # deep recursion through C code, as EvalPlus allows it
        "RLIMIT_CPU": int(total_seconds) + 5,  # should this process be unable to look at the clock
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
    }
    confine = {
        "limits": limits,
        "readable": readable(),
        "landlock": at.landlock,
        "filter_hex": _filter().hex(),
    }
    head = json.dumps({"code": code, "entry_point": entry_point, "confine": confine})
    return f'{head[:-1]}, "inputs": {inputs}}}'.encode()


@cache
def readable() -> list[str]:
    """Files and folders that a run may read: Python's library and the shared libraries that it loads."""
    prefixes = dict.fromkeys([sys.base_prefix, sys.base_exec_prefix, os.path.realpath(sys.base_prefix)])
    paths = [f"{prefix}/lib" for prefix in prefixes] + [sysconfig.get_path("stdlib")]
    system = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"]
    return list(dict.fromkeys(paths + system))


@cache
def _filter() -> bytes:
    return seccomp.build_filter(platform.machine())

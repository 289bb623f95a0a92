"""A confined process: start it, read its events within the time limits, kill it."""

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
LINE_BYTES = 16 * 2**20  # of one event
START_SECONDS = 10.0  # CPU seconds for the interpreter to start and confine itself
_READ_BYTES = 2**16
# Wall-clock limits, as multiples of the CPU limits of one event and of the whole run: the machine may be
# busy.
_WALL_FACTOR, _TOTAL_WALL_FACTOR = 10, 4
_POLL_SECONDS = 0.02  # between two readings of the process's CPU clock
_INSIDE = Path(__file__).parent / "inside"
_PYTHON = ("-s", "-S", "-B")
# The iteration order of a set of strings depends on the hash seed. Verdicts must not.
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}


class SandboxError(UserError):
    """Raised if this machine cannot confine untrusted code; no code runs then."""


@dataclass(frozen=True)
class Level:
    """What confines a run in addition to resource limits and seccomp, which always apply."""

    landlock: bool
    bubblewrap: bool

    def __str__(self) -> str:
        return "seccomp" + "+landlock" * self.landlock + "+bubblewrap" * self.bubblewrap


class Process:
    """One confined run, as a context manager: `next` returns its next event, leaving the context kills it.

    `inputs` is a JSON list of argument lists, encoded by `inside.wire`. `total_seconds` is the CPU time limit
    of the whole run; its wall-clock limit is `_TOTAL_WALL_FACTOR` times that. `start` creates the process:
    `spawn` (the default) or what `forks.starter` yields. Raises SandboxError if the process does not come up.
    """

    def __init__(self, code, entry_point=None, inputs="[]", total_seconds=60.0, *, level: Level, start=None):
        self._total = total_seconds
        self._lines, self._rest, self._ended = [], bytearray(), False
        self._process, self._pid = (start or spawn)(level)
        self._pipe = self._process.stdout.fileno()
        self._started = self._line_wall = time.monotonic()
        self._line_cpu = 0.0
        os.set_blocking(self._pipe, False)
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        with suppress(BrokenPipeError):  # if the process is gone, `next` reports why
            self._process.stdin.write(_job(code, entry_point, inputs, total_seconds, level))
            self._process.stdin.close()
        if (event := self.next(START_SECONDS)) != ["ready"]:
            self.__exit__()
            raise SandboxError(f"the sandbox ({level}) did not come up: {event[-1]}")

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
        """Wait for the next event and return it (`inside/child.py` lists them).

        Without an event within `seconds` of CPU time and `_WALL_FACTOR` times that of wall-clock time,
        returns ["timeout" | "ended" | "blocked" | "garbled", reason].
        """
        self._read()
        while not self._lines:
            if self._ended:
                return self._end_event()
            if reason := self._timeout_reason(seconds):
                return ["timeout", reason]
            if len(self._rest) > LINE_BYTES:
                return ["garbled", f"an answer larger than {LINE_BYTES / 2**20:.0f} MiB"]
            self._poll.poll(_POLL_SECONDS * 1000)
            self._read()
        line = self._lines.pop()
        try:
            event = json.loads(line)
            if isinstance(event, list) and event and isinstance(event[0], str):
                return event
        except (ValueError, RecursionError):
            pass
        return ["garbled", "the program wrote to the pipe for its answers"]

    def _read(self) -> None:
        """Read what has arrived, until a line is complete."""
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

    def _timeout_reason(self, seconds: float) -> str | None:
        """Which time limit the run exceeds, or None."""
        now, cpu = time.monotonic(), self._cpu()
        if cpu - self._line_cpu > seconds:
            return f"no answer within {seconds:.3g} s of CPU time"
        if cpu > self._total:
            return f"more than {self._total:.3g} s of CPU time in all"
        if now - self._line_wall > _WALL_FACTOR * seconds:
            return f"no answer within {_WALL_FACTOR * seconds:.3g} s"
        if now - self._started > _TOTAL_WALL_FACTOR * self._total:
            return f"not finished within {_TOTAL_WALL_FACTOR * self._total:.3g} s"
        return None

    def _cpu(self) -> float:
        try:
            return cpu_seconds(self._pid)
        except OSError:  # the process is gone
            return self._line_cpu

    def _end_event(self) -> list:
        """How the process ended."""
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return ["ended", "the program closed the pipe for its answers"]
        if code in (-signal.SIGSYS, 128 + signal.SIGSYS):  # the second with bubblewrap
            return ["blocked", "a system call that the sandbox refuses"]
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return ["ended", "killed, most likely for lack of memory"]
        if code < 0:
            return ["ended", f"the program crashed ({signal.Signals(-code).name})"]
        if code:
            return ["ended", f"the program ended itself with exit code {code}"]
        return ["ended", "the program ended itself before its checks were done"]


def cpu_seconds(pid: int) -> float:
    """CPU seconds that process `pid` has used so far. Raises OSError if there is no such process."""
    # The number of the clock that Linux keeps for each process.
    return time.clock_gettime(~pid << 3 | 2)


def spawn(level: Level) -> tuple[subprocess.Popen, int]:
    """Start a process that waits for its job. Returns it and the process id of the Python in it, which is not
    the process's own if bubblewrap wraps it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    if not level.bubblewrap:
        process = start_script("child.py", **pipes)
        return process, process.pid
    read, write = os.pipe()
    wrapper = [*_bubblewrap(_python()), "--info-fd", str(write)]
    process = start_script("child.py", wrapper=wrapper, pass_fds=[write], **pipes)
    os.close(write)
    with os.fdopen(read, "rb") as info:
        status = info.read()
    return process, json.loads(status)["child-pid"] if status else process.pid


def start_script(script: str, *arguments: str, wrapper: Sequence[str] = (), **options) -> subprocess.Popen:
    """Run `script` of `inside` in a Python without site-packages, environment and standard streams.

    `options` go to `subprocess.Popen` and override the defaults.
    """
    null = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    return subprocess.Popen(
        [*wrapper, _python(), *_PYTHON, str(_INSIDE / script), *arguments],
        **{"cwd": "/", "env": _ENVIRONMENT, "start_new_session": True, **null, **options},
    )


def _python() -> str:
    return getattr(sys, "_base_executable", None) or sys.executable


def _bubblewrap(python: str) -> list[str]:
    paths = [*readable(), str(_INSIDE), python]
    binds = [part for path in paths if Path(path).exists() for part in ("--ro-bind", path, path)]
    isolation = ["--unshare-all", "--as-pid-1", "--die-with-parent", "--cap-drop", "ALL", "--clearenv"]
    variables = [part for name, value in _ENVIRONMENT.items() for part in ("--setenv", name, value)]
    return [shutil.which("bwrap"), *isolation, *variables, *binds, "--dev", "/dev", "--chdir", "/"]


def _job(code: str, entry_point: str | None, inputs: str, total_seconds: float, level: Level) -> bytes:
    limits = {
        "RLIMIT_AS": MEMORY_BYTES,
        "RLIMIT_STACK": MEMORY_BYTES,  # allows deep recursion through C code, as EvalPlus does
        "RLIMIT_CPU": int(total_seconds) + 5,  # a fallback if the caller cannot watch the clock
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
    }
    confine = {
        "limits": limits,
        "readable": readable(),
        "landlock": level.landlock,
        "filter_hex": _filter().hex(),
    }
    # `inputs` is JSON already and can be large: it is appended as it is.
    head = json.dumps({"code": code, "entry_point": entry_point, "confine": confine})
    return f'{head[:-1]}, "inputs": {inputs}}}'.encode()


@cache
def readable() -> list[str]:
    """Files and folders that a run may read: Python's standard library and the system's shared libraries."""
    prefixes = dict.fromkeys([sys.base_prefix, sys.base_exec_prefix, os.path.realpath(sys.base_prefix)])
    paths = [f"{prefix}/lib" for prefix in prefixes] + [sysconfig.get_path("stdlib")]
    system = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"]
    return list(dict.fromkeys(paths + system))


@cache
def _filter() -> bytes:
    return seccomp.build_filter(platform.machine())

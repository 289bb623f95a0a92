"""Run untrusted code in a confined process, a fresh one for each run, and report how it ended.

The process is a separate Python without site-packages: with an empty environment, no standard streams, and no
open file except the pipe for its events. Judging many solutions outside bubblewrap, each process is a fork of
a Python that has imported its modules and run nothing else (`forks`). Forks share memory addresses, but
nothing that another run leaves behind. Before it runs any code, the process gives up the following,
irrevocably (`inside/confine.py`):

- resource limits: 4 GiB of address space, CPU time, no byte written to a file, 64 file descriptors, no core
  dump;
- seccomp: no network, no new process or thread, no signal to other processes, and no file opened for writing,
  created, renamed or removed (`seccomp.py` has the list). It needs Linux on x86-64 or aarch64; without
  seccomp no code runs;
- Landlock, if the kernel supports it: no file is readable except Python's own library and the system's;
- bubblewrap, if it is installed and works: separate namespaces for files, network and processes.

`level` returns which of these apply on this machine, and every report records it. The caller stays outside:
it reads events, keeps the expected values to itself, and kills the process at the end or when a limit on CPU
time or wall-clock time is exceeded.

Not covered: code can look up names, sizes and times of files. Without Landlock and bubblewrap it can also
read files that this user can read, although nothing leaves the process but its events. Load on the machine,
timing channels and kernel vulnerabilities are not covered either: run code built to attack in a virtual
machine.
"""

import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from . import seccomp
from .process import START_SECONDS, Level, Process, SandboxError

PROGRAM_SECONDS = 5.0  # CPU time of a program with its assertions
_DETAIL = 1000  # maximum length of a detail, in characters: its text is the untrusted code's
PASS, FAIL, TIMEOUT, ERROR, BLOCKED = "pass", "fail", "timeout", "error", "blocked"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    `verdict` is "pass", "fail" (an assertion failed), "timeout", "error" (any other exception, or the process
    ended) or "blocked" (the code attempted something that the sandbox forbids). `detail` gives the reason in
    at most 1,000 characters, e.g. an exception's type and text; it is empty for "pass".
    """

    verdict: str
    detail: str = ""


_SOCKET = "import ctypes\ndef probe(): return ctypes.CDLL(None).socket(2, 1, 0)"
_READ = "import ctypes\ndef probe(): return ctypes.CDLL(None).open(b'/proc/self/status', 0)"
_CURE = "Run this on Linux (x86-64 or aarch64), for instance in a Linux container."


@cache
def level() -> Level:
    """The strictest sandbox level that works on this machine.

    Probes every combination of Landlock and bubblewrap once and caches the result. `str(level())` is e.g.
    "seccomp+landlock". Raises SandboxError, a UserError, if the machine has no working seccomp filter:
    untrusted code never runs there.
    """
    if sys.platform != "linux" or not seccomp.supported(platform.machine()):
        machine = f"{platform.system()} on {platform.machine()}"
        raise SandboxError(
            f"code that a model wrote is not run here: {machine} has no seccomp filter. {_CURE}"
        )
    reason = ""
    for bubblewrap in (True, False) if shutil.which("bwrap") else (False,):
        for landlock in (True, False):
            candidate = Level(landlock, bubblewrap)
            try:
                if _probe(_SOCKET, candidate)[0] == "blocked" and (
                    not landlock or _probe(_READ, candidate)[:2] == ["out", "-1"]
                ):
                    return candidate
            except (SandboxError, OSError, ValueError) as error:
                reason = str(error)
    raise SandboxError(f"code that a model wrote is not run here: seccomp does not hold ({reason}). {_CURE}")


def why_unconfined() -> str | None:
    """Why this machine cannot confine code, as `level` says it; None if it can."""
    try:
        level()
    except SandboxError as error:
        return str(error)
    return None


def _probe(code: str, candidate: Level) -> list:
    with Process(code, "probe", "[[]]", level=candidate) as process:
        loaded = process.next(START_SECONDS)
        return process.next(START_SECONDS) if loaded == ["loaded"] else loaded


def run_program(program: str, seconds: float = PROGRAM_SECONDS, start: Callable | None = None) -> Outcome:
    """Run `program` in the sandbox to its end, within `seconds` of CPU time.

    The wall-clock limit is four times as long. `start` is what `forks.starter` yields; by default the program
    gets a new Python process. The verdict is "pass" if the program ends without an
    exception. Raises SandboxError if this machine cannot confine code (`level`).

    Assertions in the program judge the program from within: code written to cheat can end as if every check
    had passed. Verdicts that cannot be forged need inputs and expected values, as HumanEval and MBPP have
    them (`wb.evaluate`).
    """
    with Process(program, total_seconds=seconds, level=level(), start=start) as process:
        event = process.next(seconds)
    return outcome_of(event) if event != ["loaded"] else Outcome(PASS)


def outcome_of(event: list) -> Outcome:
    """The outcome of a run that reported `event` in place of a return value."""
    kind, *fields = (*event, "", "")
    if kind == "raised":
        name, text = str(fields[0]), str(fields[1])
        verdict = {"AssertionError": FAIL, "PermissionError": BLOCKED}.get(name, ERROR)
        return Outcome(verdict, (f"{name}: {text}" if text else name)[:_DETAIL])
    verdict = {"timeout": TIMEOUT, "blocked": BLOCKED, "ended": ERROR, "garbled": ERROR}.get(kind)
    if verdict is None:
        return Outcome(ERROR, "the program wrote to the pipe for its answers")
    return Outcome(verdict, str(fields[0])[:_DETAIL])

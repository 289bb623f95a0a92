"""Run code that nobody has read, one fresh process for each run, and hear what it says.

The process is a Python of its own without site-packages: an empty environment, no standard streams, no open
file but the pipe it answers on. A judge of many forks it, outside bubblewrap, from a Python that has imported
and run nothing else (`forks`): forks share where things lie in memory, and nothing that a run leaves. Before
it runs anything it gives up, for good (`inside/confine.py`):

- limits: 4 GB of address space, CPU time, no byte written to a file, 64 descriptors, no core file;
- seccomp: no network, no process or thread, no signal to others, no file opened for writing, made, renamed or
  removed (`seccomp.py` is the list). Linux on x86-64 or aarch64; without it nothing is run;
- Landlock, where the kernel has it: no file read but Python's own library and the system's;
- bubblewrap, where it is installed and works: namespaces of its own for files, network and processes.

`level()` says which of these hold here; every report records it. The caller is outside: it reads lines, keeps
the expected values to itself, and kills the process at the end, or when its CPU time or the clock runs out.

Not covered: names, sizes and times of files can be looked up, and without Landlock and bubblewrap files that
this user can read can be read, though nothing leaves but the answers. Machine-wide load, timing channels and
flaws of the kernel are not covered either: what is built to attack belongs in a virtual machine.
"""

import platform
import shutil
import sys
from dataclasses import dataclass
from functools import cache

from . import seccomp
from .process import START_SECONDS, Level, Process, SandboxError

_DETAIL = 1000  # characters; a program may forge what it is said to have raised
PASS, FAIL, TIMEOUT, ERROR, BLOCKED = "pass", "fail", "timeout", "error", "blocked"


@dataclass(frozen=True)
class Outcome:
    """`verdict` is "pass", "fail" (an assertion did not hold), "timeout", "error" or "blocked" (it reached
    for something that the sandbox refuses); `detail` says more."""

    verdict: str
    detail: str = ""


_SOCKET = "import ctypes\ndef probe(): return ctypes.CDLL(None).socket(2, 1, 0)"
_READ = "import ctypes\ndef probe(): return ctypes.CDLL(None).open(b'/proc/self/status', 0)"
_CURE = "Run this on Linux (x86-64 or aarch64), for instance in a Linux container."


@cache
def level() -> Level:
    """The strictest level that holds here, found by trying; SandboxError where code cannot be confined."""
    if sys.platform != "linux" or not seccomp.supported(platform.machine()):
        where = f"{platform.system()} on {platform.machine()}"
        raise SandboxError(f"code that a model wrote is not run here: {where} has no seccomp filter. {_CURE}")
    refused = ""
    for bubblewrap in (True, False) if shutil.which("bwrap") else (False,):
        for landlock in (True, False):
            tried = Level(landlock, bubblewrap)
            try:
                if _probe(_SOCKET, tried)[0] == "blocked" and (
                    not landlock or _probe(_READ, tried)[:2] == ["out", "-1"]
                ):
                    return tried
            except (SandboxError, OSError, ValueError) as error:
                refused = str(error)
    raise SandboxError(f"code that a model wrote is not run here: seccomp does not hold ({refused}). {_CURE}")


def _probe(code: str, at: Level) -> list:
    with Process(code, "probe", "[[]]", at=at) as process:
        loaded = process.next(START_SECONDS)
        return process.next(START_SECONDS) if loaded == ["loaded"] else loaded


def run_program(program: str, seconds: float = 5.0) -> Outcome:
    """Run `program` to its end within `seconds` of CPU time.

    What it asserts about itself is judged by itself: a program that is written to cheat can end as if every
    check had passed. Verdicts that cannot be forged need inputs and expected values (`judge`).
    """
    with Process(program, total_seconds=seconds, at=level()) as process:
        said = process.next(seconds)
    return outcome_of(said) if said != ["loaded"] else Outcome(PASS)


def outcome_of(said: list) -> Outcome:
    """The verdict on a run that said this in place of an answer."""
    what, *more = (*said, "", "")
    if what == "raised":
        name, text = str(more[0]), str(more[1])
        verdict = {"AssertionError": FAIL, "PermissionError": BLOCKED}.get(name, ERROR)
        return Outcome(verdict, (f"{name}: {text}" if text else name)[:_DETAIL])
    verdict = {"timeout": TIMEOUT, "blocked": BLOCKED, "ended": ERROR, "garbled": ERROR}.get(what)
    if verdict is None:
        return Outcome(ERROR, "the program wrote among its answers")
    return Outcome(verdict, str(more[0])[:_DETAIL])

"""Run a program that a model wrote: a fresh interpreter with limits, judged from outside.

Holds: an interpreter of its own (`python -I`) with an empty environment and a scratch folder that is deleted,
no standard input, limits on CPU time, memory, file size and open files, a wall clock, and the whole process
group killed at the end. The verdict rests on a token that only a program which ran to its end prints.

Does NOT hold: the network, reading files that this user can read, a program written to forge the token, one
that starts many processes, or one whose children leave the process group.
Run code that you would not run yourself in a container.
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass

PASS, FAIL, TIMEOUT, ERROR = "pass", "fail", "timeout", "error"
_MEMORY_BYTES = 2 * 2**30
_FILE_BYTES = 2**20
_FAILED = 97  # exit code: the text of an assertion may be cut short, or look like anything
_OUTPUT_CHARACTERS = 2000  # of what a program prints to stderr that is read at all

# The child limits itself, because what runs between fork and exec in a process with threads may deadlock. The
# program gets a module of its own that can be found by name, as dataclasses and pickling expect.
_CHILD = """
import sys, types
try:
    import resource
except ImportError:  # not POSIX
    pass
else:
    for name, value in {limits}:
        resource.setrlimit(getattr(resource, name), (value, value))
module = sys.modules["program"] = types.ModuleType("program")
try:
    exec(compile({program!r}, "program", "exec"), module.__dict__)
except AssertionError:
    sys.__excepthook__(*sys.exc_info())
    sys.exit({failed})
print({token!r}, file=sys.__stdout__)
"""


@dataclass(frozen=True)
class Outcome:
    """`verdict` is "pass", "fail" (an assertion did not hold), "timeout" or "error"; `detail` says more."""

    verdict: str
    detail: str = ""


def run_program(program: str, seconds: float = 5.0) -> Outcome:
    """Run `program` to its end within `seconds` of CPU time and twice that by the clock."""
    token = secrets.token_hex(16)
    limits = [
        ("RLIMIT_CPU", max(1, int(seconds))),
        ("RLIMIT_AS", _MEMORY_BYTES),
        ("RLIMIT_FSIZE", _FILE_BYTES),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_CORE", 0),
    ]
    script = _CHILD.format(limits=limits, program=program, token=token, failed=_FAILED)
    with (
        # What a killed child still writes may come between: a folder left behind is no verdict.
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-"],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            cwd=scratch,
            env={},
            start_new_session=True,
        )
        try:
            process.communicate(script.encode(errors="surrogatepass"), timeout=2 * seconds)
        except subprocess.TimeoutExpired:
            return Outcome(TIMEOUT, f"no end within {2 * seconds:g} s")
        finally:
            _kill_group(process)
        return _judge(process.returncode, _tail(out, len(token) + 1), _tail(err, _OUTPUT_CHARACTERS), token)


def _kill_group(process: subprocess.Popen) -> None:
    """Also what the program may have started and left running."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()


def _tail(file, size: int) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - size))
    return file.read().decode(errors="replace").strip()


def _judge(code: int, printed: str, errors: str, token: str) -> Outcome:
    if code == 0 and printed == token:
        return Outcome(PASS)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return Outcome(TIMEOUT, "out of CPU time")
    if code == 0:
        return Outcome(ERROR, "the program ended itself before its checks were done")
    last = errors.splitlines()[-1] if errors else f"exit code {code}"
    return Outcome(FAIL if code == _FAILED else ERROR, last)

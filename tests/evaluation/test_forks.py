"""Runs that start as forks are as isolated and limited as runs with a process of their own."""

import os
import signal

import pytest

from workbench.evaluation import SandboxError, level
from workbench.evaluation.sandbox.forks import ForkServer
from workbench.evaluation.sandbox.process import Level, Process, spawn

try:
    LEVEL = Level(level().landlock, bubblewrap=False)
except SandboxError as refused:
    pytest.skip(str(refused), allow_module_level=True)

STATE = """
import os, resource, signal, sys
def state():
    descriptors = []
    for number in range(64):
        try:
            descriptors.append((number, oct(os.fstat(number).st_mode)))
        except OSError:
            pass
    limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name[:7] == "RLIMIT_"]
    handled = [str(signal.getsignal(number)) for number in range(1, 32)]
    return descriptors, limits, handled, dict(os.environ), os.getcwd(), sys.path, __name__
"""


@pytest.fixture(scope="module")
def server():
    fork_server = ForkServer()
    yield fork_server
    fork_server.close()


def call(start, code: str, entry_point: str = "f") -> list:
    """The event for a call without arguments (CPU time left out), or the event in place of it."""
    with Process(code, entry_point, "[[]]", level=LEVEL, start=start) as process:
        loaded = process.next(5.0)
        return (process.next(5.0) if loaded == ["loaded"] else loaded)[:2]


def test_a_fork_has_the_same_state_as_a_new_process(server):
    assert call(server.start, STATE, "state") == call(spawn, STATE, "state")


def test_nothing_passes_from_one_run_to_the_next(server):
    leaving = (
        "import sys, builtins\nsys.modules['wire'].encode = None\nbuiltins.left = sys.left = 1\ndef f(): pass"
    )
    looking = "import sys, builtins\ndef f(): return hasattr(builtins, 'left') or hasattr(sys, 'left')"
    assert call(server.start, leaving)[0] == "raised"
    assert call(server.start, looking) == ["out", "false"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\nos._exit(3)", "the program ended itself with exit code 3"),
        ("import ctypes\nctypes.string_at(0)", "the program crashed (SIGSEGV)"),
        ("import os\nos.closerange(3, 64)\nwhile True: pass", "the program closed the pipe for its answers"),
    ],
)
def test_the_reason_for_an_early_end_is_named(server, code, reason):
    assert call(server.start, code) == ["ended", reason]


def test_a_refused_call_is_named(server):
    code = "import ctypes\ndef f(): return ctypes.CDLL(None).socket(2, 1, 0)"
    assert call(server.start, code) == ["blocked", "a system call that the sandbox refuses"]


def test_each_fork_has_a_session_of_its_own(server):
    with Process("def f(): pass", "f", level=LEVEL, start=server.start) as process:
        assert os.getsid(process._pid) == os.getpgid(process._pid) == process._pid
        assert process._pid != server._process.pid


def test_a_server_that_was_killed_is_replaced(server):
    assert call(server.start, "def f(): return 1") == ["out", "1"]
    os.kill(server._process.pid, signal.SIGKILL)
    server._process.wait()
    assert call(server.start, "def f(): return 2") == ["out", "2"]


def test_the_server_process_ends_when_the_server_is_closed():
    server = ForkServer()
    server.close()
    assert call(server.start, "def f(): pass") == ["out", "null"]
    process = server._process
    server.close()
    assert process.returncode == 0

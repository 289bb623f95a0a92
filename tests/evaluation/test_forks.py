"""Runs that start as forks: as alone, as limited and as well understood as a process started for each."""

import os
import signal

import pytest

from workbench.evaluation import SandboxError, level
from workbench.evaluation.sandbox.forks import ForkServer
from workbench.evaluation.sandbox.process import Level, Process, spawn

try:
    AT = Level(level().landlock, bubblewrap=False)
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
    found = ForkServer()
    yield found
    found.close()


def said(start, code: str, entry_point: str = "f") -> list:
    """What a call without arguments says, or what came in place of it."""
    with Process(code, entry_point, "[[]]", at=AT, start=start) as process:
        loaded = process.next(5.0)
        return (process.next(5.0) if loaded == ["loaded"] else loaded)[:2]


def test_a_fork_has_what_a_process_of_its_own_has(server):
    assert said(server.start, STATE, "state") == said(spawn, STATE, "state")


def test_nothing_passes_from_one_run_to_the_next(server):
    leave = (
        "import sys, builtins\nsys.modules['wire'].encode = None\nbuiltins.left = sys.left = 1\ndef f(): pass"
    )
    look = "import sys, builtins\ndef f(): return hasattr(builtins, 'left') or hasattr(sys, 'left')"
    assert said(server.start, leave)[0] == "raised"
    assert said(server.start, look) == ["out", "false"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os\nos._exit(3)", "the program ended itself with exit code 3"),
        ("import ctypes\nctypes.string_at(0)", "the program crashed (SIGSEGV)"),
        ("import os\nos.closerange(3, 64)\nwhile True: pass", "the program closed its answers"),
    ],
)
def test_how_it_ended(server, code, why):
    assert said(server.start, code) == ["ended", why]


def test_a_refused_call_is_named(server):
    call = "import ctypes\ndef f(): return ctypes.CDLL(None).socket(2, 1, 0)"
    assert said(server.start, call) == ["blocked", "a system call that the sandbox refuses"]


def test_each_has_a_session_of_its_own(server):
    with Process("def f(): pass", "f", at=AT, start=server.start) as process:
        assert os.getsid(process._pid) == os.getpgid(process._pid) == process._pid
        assert process._pid != server._process.pid


def test_a_server_that_was_killed_is_replaced(server):
    assert said(server.start, "def f(): return 1") == ["out", "1"]
    os.kill(server._process.pid, signal.SIGKILL)
    server._process.wait()
    assert said(server.start, "def f(): return 2") == ["out", "2"]


def test_it_ends_when_it_is_closed():
    server = ForkServer()
    server.close()
    assert said(server.start, "def f(): pass") == ["out", "null"]
    process = server._process
    server.close()
    assert process.returncode == 0

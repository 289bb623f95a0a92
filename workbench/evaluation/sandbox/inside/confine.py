"""Confine the current process before it runs untrusted code: resource limits, files and system calls.

Every step raises OSError if it does not take effect, so that no code runs half confined.
"""

import ctypes
import os
import resource
import struct
import sys
from contextlib import suppress

_DEATH_SIGNAL, _NO_NEW_PRIVS, _KILL = 1, 38, 9  # of prctl(2)
# Numbers of system calls. Landlock's are the same on every architecture.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_MODE_FILTER = 1
# File rights by version of Landlock (0 to 5); below, the rights over TCP (version 4) and the scopes (version
# 6).
_FILE_RIGHTS = (0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_TCP_RIGHTS, _SCOPES = 0b11, 0b11

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def confine(limits: dict[str, int], readable: list[str], landlock: bool, filter_hex: str) -> None:
    """Confine this process irrevocably.

    `limits` maps names of the `resource` module to bytes, seconds or counts. With `landlock`, only the files
    and folders in `readable` stay readable. `filter_hex` is the seccomp program as hexadecimal text.
    """
    # If memory runs out, the kernel kills this process first, not the notebook.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    die_with_parent()
    for name, limit in limits.items():
        _limit(getattr(resource, name), limit)
    _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if landlock:
        _restrict_files(readable)
    _filter_calls(bytes.fromhex(filter_hex))


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _check(_libc.prctl(_DEATH_SIGNAL, _KILL, 0, 0, 0), "a signal at the parent's death")


def landlock_version() -> int:
    """The kernel's Landlock version, 0 if it has none."""
    return max(0, _syscall(_LANDLOCK_CREATE, None, 0, 1))


def _limit(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def _restrict_files(readable: list[str]) -> None:
    version = landlock_version()
    rights = _FILE_RIGHTS[min(version, len(_FILE_RIGHTS) - 1)]
    rules = struct.pack("=QQQ", rights, _TCP_RIGHTS, _SCOPES)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _check(_syscall(_LANDLOCK_CREATE, rules, size, 0), "Landlock")
    for path in filter(os.path.exists, readable):
        at = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
        _check(_syscall(_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", allowed, at), 0), "Landlock")
        os.close(at)
    _check(_syscall(_LANDLOCK_RESTRICT, ruleset, 0), "Landlock")
    os.close(ruleset)


def _filter_calls(program: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    instructions = Program(len(program) // 8, program)
    _check(_syscall(_SECCOMP[os.uname().machine], _MODE_FILTER, 0, ctypes.byref(instructions)), "seccomp")


def _syscall(number: int, *arguments) -> int:
    """Make a system call. Integers are passed as 64 bits: a variadic call leaves the upper half of an int
    undefined."""
    values = (ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
    return _libc.syscall(ctypes.c_long(number), *values)


def _check(result: int, step: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{step}: {os.strerror(code)}")
    return result


if sys.platform != "linux":
    raise ImportError("Linux only")

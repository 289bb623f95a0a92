"""The system calls that untrusted code may make, as a filter program for Linux's seccomp.

Calls that a computation in Python needs are allowed. Calls that reach beyond the process end it. Every other
call, including calls of future kernels, fails with "operation not permitted". The filter covers x86-64 and
aarch64; a call in another architecture's numbering ends the process.
"""

import errno
import struct

# (column of the tables below, the kernel's constant)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_BIT = 0x40000000  # x86-64's second numbering

# name: (number on x86-64, on aarch64), most frequent first; None if the architecture lacks the call
_ALLOWED = {
    "read": (0, 63), "write": (1, 64), "fstat": (5, 80), "newfstatat": (262, 79), "stat": (4, None),
    "lseek": (8, 62), "close": (3, 57), "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226),
    "mremap": (25, 216), "madvise": (28, 233), "brk": (12, 214), "futex": (202, 98),
    "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "lstat": (6, None), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None),
    "readlinkat": (267, 78), "getcwd": (79, 17), "getdents64": (217, 61),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "setitimer": (38, 103), "getitimer": (36, 102), "alarm": (37, None),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getcpu": (309, 168),
    "restart_syscall": (219, 128), "select": (23, None), "pselect6": (270, 72), "poll": (7, None),
    "ppoll": (271, 73), "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None),
    "times": (100, 153), "getrusage": (98, 165), "getpid": (39, 172), "gettid": (186, 178),
    "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "uname": (63, 160), "sysinfo": (99, 179), "getrandom": (318, 278),
    "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
_FATAL = {
    # the network
    "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    # processes and threads, and pipes to them
    "pipe": (22, None), "pipe2": (293, 59),
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435), "execve": (59, 221),
    "execveat": (322, 281), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "unshare": (272, 97), "setns": (308, 268),
    # files, except reading them
    "creat": (85, None), "openat2": (437, 437), "unlink": (87, None), "unlinkat": (263, 35),
    "rmdir": (84, None), "mkdir": (83, None), "mkdirat": (258, 34), "mknod": (133, None),
    "mknodat": (259, 33), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36),
    "truncate": (76, 45), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88), "futimesat": (261, None),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "mount": (165, 40), "umount2": (166, 39),
    "chroot": (161, 51), "pivot_root": (155, 41),
    # memory that outlives or leaves the process, and large parts of the kernel's interface
    "memfd_create": (319, 279), "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "io_uring_setup": (425, 425), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
}  # fmt: skip
_OPEN = {"open": ((2, None), 1), "openat": ((257, 56), 2)}  # and the position of the argument with the flags
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000  # WRONLY RDWR CREAT TRUNC APPEND TMPFILE
# When a program looks up its home folder, the C library itself opens a local socket to a name service that
# rarely exists. That call is refused and does not end the program.
_SOCKET, _LOCAL = (41, 198), 1
_FCNTL = (72, 25)
# GETFD, SETFD, GETFL, DUPFD_CLOEXEC. Not SETOWN and SETSIG, which have the kernel signal any process.
_FCNTL_COMMANDS = (1, 2, 3, 1030)

_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # byte offsets in the kernel's seccomp_data
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM


def supported(machine: str) -> bool:
    """Whether the filter covers `machine`, a name as `platform.machine()` returns it."""
    return machine in _ARCHITECTURES


def build_filter(machine: str) -> bytes:
    """The filter for `machine` ("x86_64" or "aarch64"), as 8-byte instructions of classic BPF."""
    column, architecture = _ARCHITECTURES[machine]
    program = [
        _step(_LOAD, _ARCHITECTURE),
        *_unless(_JUMP_EQUAL, architecture, [_step(_RETURN, KILL)]),
        _step(_LOAD, _NUMBER),
        *_when(_JUMP_GREATER, _X32_BIT, [_step(_RETURN, KILL)]),
    ]
    for numbers, body in _rules():
        if numbers[column] is not None:
            program += _when(_JUMP_EQUAL, numbers[column], body)
    return b"".join([*program, _step(_RETURN, REFUSE)])


def _rules():
    """Yields (numbers of a call by architecture, instructions for that call) in the order of the filter."""
    for numbers in _ALLOWED.values():
        yield numbers, [_step(_RETURN, ALLOW)]
    for numbers, argument in _OPEN.values():
        writing = _when(_JUMP_SET, _WRITING, [_step(_RETURN, KILL)])
        yield numbers, [_load_argument(argument), *writing, _step(_RETURN, ALLOW)]
    allow = [_step(_RETURN, ALLOW)]
    commands = [step for command in _FCNTL_COMMANDS for step in _when(_JUMP_EQUAL, command, allow)]
    yield _FCNTL, [_load_argument(1), *commands, _step(_RETURN, REFUSE)]
    local = _when(_JUMP_EQUAL, _LOCAL, [_step(_RETURN, REFUSE)])
    yield _SOCKET, [_load_argument(0), *local, _step(_RETURN, KILL)]
    for numbers in _FATAL.values():
        yield numbers, [_step(_RETURN, KILL)]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _when(jump: int, value: int, body: list[bytes]) -> list[bytes]:
    return [_step(jump, value, 0, len(body)), *body]


def _unless(jump: int, value: int, body: list[bytes]) -> list[bytes]:
    return [_step(jump, value, len(body), 0), *body]


def _load_argument(position: int) -> bytes:
    """Load the lower 32 bits of an argument: both architectures are little-endian, and flags and commands are
    ints."""
    return _step(_LOAD, _ARGUMENTS + 8 * position)

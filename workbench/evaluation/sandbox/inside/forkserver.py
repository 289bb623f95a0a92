"""A Python that stands ready and never runs a program itself: each run is a fork of it.

To start and import takes 25 ms, to fork 1. A fork reads its job and confines itself before it runs anything
(`child`), like a process started for it alone; of this one it has the imports, the same for all. One run at a
time. A request on the socket (its number is the argument) is a byte with two pipes, for the job and for the
answers; told are the fork's process id and, at its end, its exit code, as `subprocess` has it.
"""

import gc
import importlib
import os
import socket
import struct
import sys

import child
from confine import die_with_parent

# What programs import most; nothing that draws random numbers, which forks would share.
_IMPORTS = "bisect collections copy functools heapq itertools math operator re string typing"
_NUMBER = struct.Struct("=i")


def main() -> None:
    die_with_parent()
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in _IMPORTS.split():
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would copy every page that holds objects
    pipes = socket.recv_fds(control, 1, 2)[1]
    while pipes:
        if not (pid := os.fork()):
            _run(control, *pipes)
        for pipe in pipes:
            os.close(pipe)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        exited = ended.si_code == os.CLD_EXITED
        control.send(_NUMBER.pack(ended.si_status if exited else -ended.si_status))
        pipes = socket.recv_fds(control, 1, 2)[1]
        os.waitpid(pid, 0)  # only now: until here the caller's kill could meet no other process of that id


def _run(control: socket.socket, job: int, results: int) -> None:
    try:
        os.setsid()
        control.send(_NUMBER.pack(os.getpid()))  # from here on its group can be killed
        control.close()
        for standard, pipe in enumerate((job, results)):
            os.dup2(pipe, standard)
            os.close(pipe)
        child.main()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()

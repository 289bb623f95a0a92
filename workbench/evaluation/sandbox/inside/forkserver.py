"""A process that forks once per run and never runs untrusted code itself.

Starting Python with its imports takes 25 ms, a fork 1 ms. Each fork reads its job and confines itself before
it runs anything (`child`), like a process started for that run alone; all it inherits are the imports, the
same for every run. There is one run at a time.

The only command line argument is the number of a socket. A request on it is one byte with two pipes, for the
job and for the events. The replies are the fork's process id and, when the fork ends, its exit code in the
convention of `subprocess`.
"""

import gc
import importlib
import os
import socket
import struct
import sys

import child
from confine import die_with_parent

# Common imports. None of them draws random numbers, which all forks would share.
_IMPORTS = "bisect collections copy functools heapq itertools math operator re string typing"
_NUMBER = struct.Struct("=i")


def main() -> None:
    die_with_parent()
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in _IMPORTS.split():
        importlib.import_module(name)
    gc.freeze()  # otherwise a garbage collection in a fork copies every page that holds objects
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
        # Until here the process id is taken, so that the caller's kill cannot hit another process.
        os.waitpid(pid, 0)


def _run(control: socket.socket, job: int, results: int) -> None:
    try:
        os.setsid()
        control.send(_NUMBER.pack(os.getpid()))  # the caller can kill the process group from here on
        control.close()
        for standard, pipe in enumerate((job, results)):
            os.dup2(pipe, standard)
            os.close(pipe)
        child.main()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()

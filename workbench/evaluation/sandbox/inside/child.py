"""The process that runs an unread program: reads a job, confines itself, runs, and tells what came out.

The job (standard input, JSON): "code", "entry_point", "inputs" (a list of argument lists on the wire),
"confine" (see `confine`). It answers on its standard output, one JSON array a line:

    ["ready"]                     confined; from here on the program may write anything
    ["loaded"]                    the program ran to its end
    ["out", text, seconds]        one line for each input in turn: what the function gave, on the wire and
                                  as the text of its JSON (for who only keeps it), and CPU time
    ["raised", type, text]        the same for an exception; also instead of "loaded"
    ["blocked", what]             an attempt that the program did not survive

A program can forge each of these lines. It does not matter: none of them is a verdict, and the expected
values are not in this process.
"""

import io
import json
import os
import sys
import time
import types

import wire
from confine import confine

BLOCKED = 86  # exit code
_TEXT = 500  # characters of an exception's text that are told
# Attempts that end the program, as named by Python's audit hooks. The system calls behind them are refused
# anyway; here they get a name.
_FATAL = (
    "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system os.kill os.killpg os.remove os.rename"
    " os.rmdir os.mkdir os.link os.symlink os.truncate os.chmod os.chown os.utime os.setxattr os.mkfifo"
    " subprocess.Popen pty.spawn socket.__new__ socket.getaddrinfo socket.gethostbyname socket.connect"
    " signal.pthread_kill _thread.start_new_thread resource.prlimit resource.setrlimit"
)
_PATHS = frozenset(("open", "os.listdir", "os.scandir"))
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    job = json.load(sys.stdin.buffer)
    results = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.close(null)
    sys.path.pop(0)  # this folder
    os.environ.clear()
    confine(**job["confine"])
    tell = _teller(results)
    tell(["ready"])
    sys.addaudithook(_watch(tell, tuple(job["confine"]["readable"])))
    run(job["code"], job["entry_point"], job["inputs"], tell)
    os._exit(0)  # nothing that the program registered for its end


def _teller(descriptor: int, write=os.write):
    def tell(event: list) -> None:
        line = _written(event).encode() + b"\n"
        while line:
            line = line[write(descriptor, line) :]

    return tell


def _written(value) -> str:
    return json.dumps(value, separators=(",", ":"))


def _watch(tell, readable: tuple[str, ...], end=os._exit, path_of=os.path):
    """An audit hook that ends the process on what it must not do; Python knows no way to take one off."""

    fatal = frozenset(_FATAL.split())

    def watch(event: str, arguments: tuple) -> None:
        if event in fatal:
            what = f"{event}{_shown(arguments)}"
        elif event in _PATHS and isinstance(arguments[0], (str, bytes)):
            path = path_of.abspath(os.fsdecode(arguments[0]))
            writing = event == "open" and arguments[2] and arguments[2] & _WRITING
            if not writing and any(path == place or path.startswith(place + "/") for place in readable):
                return
            if not writing and not path_of.exists(path):
                return  # Python itself looks for the line of a syntax error in a file of the program's name
            what = f"{event} {path!r}"[:_TEXT] + (" for writing" if writing else "")
        else:
            return
        tell(["blocked", what])
        end(BLOCKED)

    return watch


def _shown(arguments: tuple) -> str:
    """Plain arguments alone: the others' `repr` is the program's code."""
    plain = (repr(value)[:100] if type(value) in (str, bytes, int) else "..." for value in arguments)
    return f"({', '.join(plain)})"[:_TEXT]


def run(code: str, entry_point: str | None, inputs: list, tell) -> None:
    # A module that can be found by name, as dataclasses and pickling expect; it is not "__main__".
    module = sys.modules["program"] = types.ModuleType("program")
    if "TemporaryFile" in code:
        import tempfile

        tempfile.TemporaryFile = _temporary_file
    try:
        exec(compile(code, "program", "exec"), module.__dict__)
        function = module.__dict__[entry_point] if entry_point else None
    except BaseException as error:
        tell(_raised(error))
        return
    tell(["loaded"])
    for data in inputs:
        start = time.process_time()
        try:
            out = _written(wire.encode(function(*wire.decode(data))))
        except BaseException as error:
            event = _raised(error)
        else:
            event = ["out", out, time.process_time() - start]
            out = None
        tell(event)


def _temporary_file(mode="w+b", buffering=-1, encoding=None, newline=None, *_, errors=None, **__):
    """`tempfile.TemporaryFile` in memory: no file can be written here, and this one has no name anyway."""
    content = io.BytesIO()
    return content if "b" in mode else io.TextIOWrapper(content, encoding or "utf-8", errors, newline)


def _raised(error: BaseException) -> list:
    try:
        text = str(error)[:_TEXT]
    except BaseException:  # its __str__ is the program's
        text = ""
    return ["raised", type(error).__name__[:_TEXT], text]


if __name__ == "__main__":
    main()

"""The process that runs untrusted code: reads a job, confines itself, runs the code and reports events.

The job is a JSON object on standard input: "code", "entry_point", "inputs" (a list of argument lists, encoded
by `wire`) and "confine" (the arguments of `confine.confine`). Events go to standard output, one JSON array
per line:

    ["ready"]                     the process is confined; the code may write anything from here on
    ["loaded"]                    the code ran to its end
    ["out", text, seconds]        one line per input, in order: the return value (encoded by `wire`, as a
                                  JSON string, so that a reader can store it unparsed) and CPU seconds
    ["raised", type, text]        an exception in place of "out" or "loaded"
    ["blocked", description]      the code attempted something forbidden, and the process ends

The code can forge every one of these lines. That is safe: no event is a verdict, and the expected values
never enter this process.
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
_TEXT = 500  # maximum length of an exception's text, in characters
# Events of Python's audit hooks that end the process. The seccomp filter stops the system calls behind them
# anyway; the hook adds a readable name.
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
    sys.path.pop(0)  # the folder of this script
    os.environ.clear()
    confine(**job["confine"])
    send = _sender(results)
    send(["ready"])
    sys.addaudithook(_audit_hook(send, tuple(job["confine"]["readable"])))
    run(job["code"], job["entry_point"], job["inputs"], send)
    os._exit(0)  # skips exit handlers that the code registered


def _sender(descriptor: int, write=os.write):
    def send(event: list) -> None:
        line = _to_json(event).encode() + b"\n"
        while line:
            line = line[write(descriptor, line) :]

    return send


def _to_json(value) -> str:
    return json.dumps(value, separators=(",", ":"))


def _audit_hook(send, readable: tuple[str, ...], end=os._exit, path_of=os.path):
    """An audit hook that ends the process on a forbidden event. Python offers no way to remove a hook."""

    fatal = frozenset(_FATAL.split())

    def check(event: str, arguments: tuple) -> None:
        if event in fatal:
            description = f"{event}{_format_arguments(arguments)}"
        elif event in _PATHS and isinstance(arguments[0], (str, bytes)):
            path = path_of.abspath(os.fsdecode(arguments[0]))
            writing = event == "open" and arguments[2] and arguments[2] & _WRITING
            if not writing and any(path == root or path.startswith(root + "/") for root in readable):
                return
            if not writing and not path_of.exists(path):
                # To report a syntax error, Python itself looks for a file with the program's name.
                return
            description = f"{event} {path!r}"[:_TEXT] + (" for writing" if writing else "")
        else:
            return
        send(["blocked", description])
        end(BLOCKED)

    return check


def _format_arguments(arguments: tuple) -> str:
    """`arguments` as text. Only plain types are shown: the `repr` of others may be the untrusted code's
    own."""
    plain = (repr(value)[:100] if type(value) in (str, bytes, int) else "..." for value in arguments)
    return f"({', '.join(plain)})"[:_TEXT]


def run(code: str, entry_point: str | None, inputs: list, send) -> None:
    # dataclasses and pickle look the module up by name. It is not called "__main__", so that the code under
    # `if __name__ == "__main__"` does not run.
    module = sys.modules["program"] = types.ModuleType("program")
    if "TemporaryFile" in code:
        import tempfile

        tempfile.TemporaryFile = _temporary_file
    try:
        exec(compile(code, "program", "exec"), module.__dict__)
        function = module.__dict__[entry_point] if entry_point else None
    except BaseException as error:
        send(_raised(error))
        return
    send(["loaded"])
    for data in inputs:
        start = time.process_time()
        try:
            out = _to_json(wire.encode(function(*wire.decode(data))))
        except BaseException as error:
            event = _raised(error)
        else:
            event = ["out", out, time.process_time() - start]
            out = None
        send(event)


def _temporary_file(mode="w+b", buffering=-1, encoding=None, newline=None, *_, errors=None, **__):
    """`tempfile.TemporaryFile` in memory: the sandbox forbids writing files, and this one needs no name."""
    content = io.BytesIO()
    return content if "b" in mode else io.TextIOWrapper(content, encoding or "utf-8", errors, newline)


def _raised(error: BaseException) -> list:
    try:
        text = str(error)[:_TEXT]
    except BaseException:  # __str__ may be the untrusted code's own
        text = ""
    return ["raised", type(error).__name__[:_TEXT], text]


if __name__ == "__main__":
    main()

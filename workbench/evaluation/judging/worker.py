"""A worker process: runs code in the sandbox, compares by EvalPlus's rules, replies with one JSON line per
request.

It is a fresh process of limited memory for two reasons: it decodes values written by untrusted code, and a
notebook that holds a model has reserved address space that EvalPlus's limits do not account for.
"""

import json
import os
import reprlib
import resource
import sys
import zlib
from collections.abc import Callable

from ...core.store import Store
from ..sandbox.forks import starter
from ..sandbox.inside import wire
from ..sandbox.process import Level, Process, SandboxError
from ..sandbox.run import ERROR, FAIL, PASS, Outcome, outcome_of
from . import rules
from .references import STORE, summary_key

MEMORY_BYTES = 2 * 2**30  # address space of this process
_INPUT_CHARACTERS = 1000  # maximum length of a failing input in a reply
_LOAD_SECONDS = 10.0  # CPU time for what a solution does before it is called
_REFERENCE_SECONDS = 60.0  # CPU time for each suite and each call of a reference solution
_SUITE_SECONDS = 60.0  # EvalPlus's limit on a suite


class _NoValue(Exception):
    pass


class _Values:
    """Returns the values of one call after another; `outcome` says why there are no more."""

    def __init__(self, process: Process, limits: list[float]):
        self.process, self.limits = process, limits
        self.n_calls = 0
        self.last, self.outcome = None, None

    def __call__(self):
        self.n_calls += 1
        event = self.process.next(self.limits[self.n_calls - 1])
        if event[0] != "out":
            self.outcome = outcome_of(event)
            raise _NoValue
        try:
            self.last = wire.decode(json.loads(event[1]))
        except Exception as error:
            self.outcome = Outcome(ERROR, f"a return value that cannot be decoded ({type(error).__name__})")
            raise
        return self.last


class _Expected:
    """The expected values, decoded one at a time when they are needed: some suites have 100 MB of them."""

    def __init__(self, task: dict, encoded: list[str]):
        self.task, self.encoded = task, encoded

    def __getitem__(self, i: int):
        value = wire.decode(json.loads(self.encoded[i]))
        return rules.expected_value(self.task["dataset"], self.task["entry_point"], value)


class Worker:
    """The requests that a worker serves. Replies are JSON-ready; reference answers go to the store."""

    def __init__(self, level: Level, start: Callable):
        self._level, self._start, self._store = level, start, Store(STORE)

    def judge(self, task: dict, key: str, code: str) -> dict:
        """The verdict on `code`, compared with the reference answers stored under `key`.

        The reply has "verdict", "detail", "input" (the first input that fails; None if the code passes or
        never ran) and "compatible" (whether EvalPlus would pass it).
        """
        suite = json.loads(zlib.decompress(self._store.get([key])[key]))
        limits = [max(rules.MIN_SECONDS, rules.FACTOR * seconds) for seconds in suite["seconds"]]
        total = min(_SUITE_SECONDS, sum(limits)) + 1
        inputs = [wire.decode(data) for data in suite["inputs"]]
        expected = _Expected(task, suite["expected"])
        with self._run(code, task, suite["inputs"], total) as process:
            if (event := process.next(min(_LOAD_SECONDS, total))) != ["loaded"]:
                return _verdict(outcome_of(event))
            values = _Values(process, limits)
            right, compatible = rules.check(
                task["dataset"], task["entry_point"], inputs, expected, task["atol"], values
            )
        if right:
            return _verdict(Outcome(PASS), compatible=compatible)
        failing = values.n_calls - 1
        outcome = values.outcome or Outcome(
            FAIL, f"gave {_short(values.last)}, expected {_short(expected[failing])}"
        )
        return _verdict(outcome, ", ".join(map(repr, wire.decode(suite["inputs"][failing]))))

    def reference(self, task: dict, inputs: list, key: str) -> dict:
        """Run the task's own solution in the sandbox and store what it returns for `inputs`, under `key`.

        Stored are the encoded inputs and return values and the CPU seconds of each call. The reply, stored
        under `summary_key(key)`, says how many "inputs" there are, how many are "answered" and "why" not all.
        """
        rows = rules.typed_inputs(task["dataset"], task["task_id"], inputs)
        encoded = [wire.encode(list(row)) for row in rows]
        answers, why = {"inputs": [], "expected": [], "seconds": []}, None
        with self._run(task["solution"], task, encoded, _REFERENCE_SECONDS) as process:
            event = process.next(_REFERENCE_SECONDS)
            for row in encoded:
                if event == ["loaded"] or event[0] in ("out", "raised"):
                    event = process.next(_REFERENCE_SECONDS)
                if event[0] == "out":
                    answers["inputs"].append(row)
                    answers["expected"].append(event[1])
                    answers["seconds"].append(event[2])
                else:
                    why = why or outcome_of(event).detail
        summary = {"inputs": len(encoded), "answered": len(answers["inputs"]), "why": why}
        compressed = zlib.compress(json.dumps(answers).encode(), 1)
        self._store.put({key: compressed, summary_key(key): json.dumps(summary).encode()})
        return summary

    def sanitize(self, code: str, entry_point: str) -> dict:
        """`code` as EvalPlus's sanitizer leaves it."""
        return {"code": rules.sanitize(code, entry_point)}

    def _run(self, code: str, task: dict, inputs: list, seconds: float) -> Process:
        arguments = code, task["entry_point"], json.dumps(inputs), seconds
        return Process(*arguments, level=self._level, start=self._start)


def _short(value) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer with more digits than Python converts to text
        return f"<{type(value).__name__}>"


def _verdict(outcome: Outcome, failing: str | None = None, compatible: bool = False) -> dict:
    if failing is not None and len(failing) > _INPUT_CHARACTERS:
        failing = f"{failing[:_INPUT_CHARACTERS]}..."
    return {
        "verdict": outcome.verdict,
        "detail": outcome.detail,
        "input": failing,
        "compatible": compatible,
    }


def main() -> None:
    """Read requests from standard input and write replies to what was standard output.

    Standard output itself is redirected, so that nothing else can write among the replies.
    """
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    landlock, bubblewrap = (flag == "1" for flag in sys.argv[1:3])
    level = Level(landlock, bubblewrap)  # probed once, by the parent process
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, hard))
    with starter(level) as start:
        worker, reply = Worker(level, start), {"ready": True}
        while True:
            replies.write(json.dumps(reply).encode() + b"\n")
            replies.flush()
            if not (line := requests.readline()):
                return
            reply = _reply(worker, json.loads(line))


def _reply(worker: Worker, request: dict) -> dict:
    methods = {"judge": worker.judge, "reference": worker.reference, "sanitize": worker.sanitize}
    try:
        return methods[request.pop("do")](**request)
    except SandboxError as error:
        return {"unconfined": str(error)}
    except Exception as error:  # usually MemoryError; it fails this request and no other
        return {"failed": f"the code could not be judged ({type(error).__name__}: {error})"}


if __name__ == "__main__":
    main()

"""The judge's process: asks the sandbox, compares by EvalPlus's rules, and answers one JSON line per request.

It is a fresh process of limited memory, because what it decodes was written by the code that it judges, and
because a notebook that holds a model has reserved address space that EvalPlus's limits do not reckon with.
"""

import json
import os
import reprlib
import resource
import sys
import zlib
from collections.abc import Callable

from ...core.store import Store
from .. import sandbox
from ..sandbox.forks import starter
from ..sandbox.inside import wire
from ..sandbox.process import Level, Process, SandboxError
from ..sandbox.run import PASS, Outcome, outcome_of
from . import rules
from .references import ANSWERS, about

_INPUT_CHARACTERS = 1000  # of a failing input that are kept
MEMORY_BYTES = 2 * 2**30
_LOAD_SECONDS = 10.0  # of CPU time, for what a solution does before it is called
_REFERENCE_SECONDS = 60.0  # of CPU time, for each suite and each call of a reference solution
_MOST_SECONDS = 60.0  # EvalPlus's limit on a suite


class _NoAnswer(Exception):
    pass


class _Answers:
    """Called for one answer after the other; keeps what went wrong."""

    def __init__(self, process: Process, limits: list[float]):
        self.process, self.limits = process, limits
        self.n = 0
        self.last, self.outcome = None, None

    def __call__(self):
        self.n += 1
        said = self.process.next(self.limits[self.n - 1])
        if said[0] != "out":
            self.outcome = outcome_of(said)
            raise _NoAnswer
        try:
            self.last = wire.decode(json.loads(said[1]))
        except Exception as error:
            self.outcome = Outcome(sandbox.ERROR, f"an answer that is none ({type(error).__name__})")
            raise
        return self.last


class _Expected:
    """What to compare with, decoded one at a time when it is asked for: some suites expect 100 MB."""

    def __init__(self, task: dict, answers: list[str]):
        self.task, self.answers = task, answers

    def __getitem__(self, at: int):
        value = wire.decode(json.loads(self.answers[at]))
        return rules.wanted(self.task["dataset"], self.task["entry_point"], value)


class Judge:
    """What the process is asked to do. Its answers are JSON-ready; those of reference solutions it stores."""

    def __init__(self, at: Level, start: Callable):
        self._at, self._start, self._store = at, start, Store(ANSWERS)

    def judge(self, task: dict, key: str, code: str) -> dict:
        """The verdict on `code` by the reference answers stored under `key`, with the first input that it
        fails (null where it was never called) and whether EvalPlus would pass it."""
        suite = json.loads(zlib.decompress(self._store.get([key])[key]))
        limits = [max(rules.MIN_SECONDS, rules.FACTOR * seconds) for seconds in suite["seconds"]]
        total = min(_MOST_SECONDS, sum(limits)) + 1
        inputs = [wire.decode(data) for data in suite["inputs"]]
        expected = _Expected(task, suite["expected"])
        with self._run(code, task, suite["inputs"], total) as process:
            if (said := process.next(min(_LOAD_SECONDS, total))) != ["loaded"]:
                return _verdict(outcome_of(said))
            answers = _Answers(process, limits)
            right, compatible = rules.check(
                task["dataset"], task["entry_point"], inputs, expected, task["atol"], answers
            )
        if right:
            return _verdict(Outcome(PASS), compatible=compatible)
        place = answers.n - 1
        gave = answers.outcome or Outcome(
            sandbox.FAIL, f"gave {_short(answers.last)}, expected {_short(expected[place])}"
        )
        return _verdict(gave, ", ".join(map(repr, wire.decode(suite["inputs"][place]))))

    def reference(self, task: dict, inputs: list, key: str) -> dict:
        """Store what the task's own solution gives for `inputs`, itself run in the sandbox: inputs and
        answers on the wire and CPU seconds of each call. Returns how many it answers, and why not all, which
        is stored too, under `about(key)`."""
        typed = [wire.encode(list(row)) for row in rules.arguments(task["dataset"], task["task_id"], inputs)]
        found, why = {"inputs": [], "expected": [], "seconds": []}, None
        with self._run(task["solution"], task, typed, _REFERENCE_SECONDS) as process:
            said = process.next(_REFERENCE_SECONDS)
            for row in typed:
                if said == ["loaded"] or said[0] in ("out", "raised"):
                    said = process.next(_REFERENCE_SECONDS)
                if said[0] == "out":
                    found["inputs"].append(row)
                    found["expected"].append(said[1])
                    found["seconds"].append(said[2])
                else:
                    why = why or outcome_of(said).detail
        summary = {"inputs": len(typed), "answered": len(found["inputs"]), "why": why}
        answers = zlib.compress(json.dumps(found).encode(), 1)
        self._store.put({key: answers, about(key): json.dumps(summary).encode()})
        return summary

    def sanitize(self, code: str, entry_point: str) -> dict:
        return {"code": rules.sanitize(code, entry_point)}

    def _run(self, code: str, task: dict, inputs: list, seconds: float) -> Process:
        return Process(code, task["entry_point"], json.dumps(inputs), seconds, at=self._at, start=self._start)


def _short(value) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of more digits than Python writes
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
    """Requests on standard input, answers on what was standard output: nothing else may write there."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    landlock, bubblewrap = (flag == "1" for flag in sys.argv[1:3])
    at = Level(landlock, bubblewrap)  # found once, by the process that started this one
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, hard))
    with starter(at) as start:
        judge, answer = Judge(at, start), {"ready": True}
        while True:
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()
            if not (line := requests.readline()):
                return
            answer = _answer(judge, json.loads(line))


def _answer(judge: Judge, request: dict) -> dict:
    work = {"judge": judge.judge, "reference": judge.reference, "sanitize": judge.sanitize}
    try:
        return work[request.pop("do")](**request)
    except SandboxError as error:
        return {"unconfined": str(error)}
    except Exception as error:  # of memory, mostly: a verdict on this request, and on no other
        return {"failed": f"the judge could not judge it ({type(error).__name__}: {error})"}


if __name__ == "__main__":
    main()

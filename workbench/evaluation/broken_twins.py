"""`wb.twins`: programs that differ from a reference solution by one token and fail its tests."""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import datasets

from ..core import progress, tables
from ..core.errors import UserError, positive
from ..core.store import Store, digest
from ..lm import prompts
from .heldout import MAX_LENGTH
from .judging import evalplus, suites
from .judging.assertions import run_with_tests
from .judging.extraction import extract_code
from .judging.mutants import mutants
from .samples import Sample
from .sandbox import why_unconfined
from .sandbox.run import ERROR, FAIL, PASS
from .tasks import TITLES, EvalPlusTasks, code_tasks, instruction_tasks

PER_TASK = 6
_VERSION = "twins 1"  # of the mutations and of what is stored
_SECONDS = 2.0  # CPU time of a program with its assertions
_BROKEN = (FAIL, ERROR)  # a timeout depends on the machine, and the set of twins must not
_COLUMNS = ("id", "instruction", "response", "twin", "kind", "line", "change", "verified", "verdict")


@dataclass(frozen=True)
class _Reference:
    """A task with its reference solution.

    The program that is judged is `head` (code that the instruction gives) followed by `body`; the response is
    `before`, `body` and `after`. `test` is the program of assertions, None for HumanEval and MBPP, and empty
    if there are no tests.
    """

    id: str
    instruction: str
    body: str
    head: str = ""
    before: str = ""
    after: str = ""
    test: str | None = ""

    @property
    def response(self) -> str:
        return self.before + self.body + self.after


@dataclass(frozen=True)
class _Twin:
    """`body` of a reference with one token replaced; `verdict` is None if no test has judged it."""

    body: str
    kind: str
    line: int
    change: str
    verdict: str | None = None


@dataclass
class _Search:
    """Candidates of one task that are not judged yet, and its twins so far; `reason` says why it has none."""

    reference: _Reference
    candidates: list[_Twin]
    twins: list[_Twin] = field(default_factory=list)
    reason: str | None = None


_Judge = Callable[[Sequence[tuple[_Reference, str]]], list[str]]  # (task, body) pairs -> verdicts


def twins(
    tasks: str | datasets.Dataset = "bundled", *, per_task: int = PER_TASK, limit: int | None = None
) -> datasets.Dataset:
    """Make broken twins of the reference solutions of `tasks`, and verify them in the sandbox.

    A twin replaces one token of the reference: a comparison, arithmetic or boolean operator, the last digit
    of a number, min or max, any or all, True or False. It parses, and it fails the task's tests, which the
    reference passes. The set is the same on every machine: candidates are tried in a fixed order, spread over
    the kinds of tokens, until `per_task` of them fail; one that exceeds the time limit is left out. Verified
    twins are stored, and a second call reads them.

    A row without tests gets twins that are *unverified* (`verified` is False): some may be correct programs.
    So does every row on a machine that cannot confine code.

    Args:
        tasks: "bundled", or a table with `id`, `instruction`, `response` and (for verification) `check`; or
            "humaneval", "humaneval+", "mbpp" or "mbpp+", whose twins fail one of the two suites.
        per_task: the largest number of twins of a task.
        limit: use the first `limit` tasks only.

    Returns:
        A table with a row per twin: `id` of its task, `instruction`, `response` (the reference), `twin` (the
        response with the token replaced), `kind`, `line` (of the code, from 1), `change` (e.g. "< to >"),
        `verified` (bool) and `verdict` ("fail" or "error"; None if unverified). Its notes (`tables.noted(ds,
        "twins")["without"]`) map the id of each task without twins to the reason.

    Raises:
        UserError: `tasks` is not usable or has no reference solutions.
    """
    positive("per_task", per_task)
    if limit is not None:
        positive("limit", limit)
    references, judge, settings = _references(tasks, limit)
    searches = [_search(reference) for reference in references]
    settings = [_VERSION, platform.python_version(), per_task, *settings]
    keys = [digest(settings, asdict(search.reference)) for search in searches]
    unconfined = why_unconfined()
    store = Store("twins")
    stored = store.get(keys)
    for key, search in zip(keys, searches, strict=True):
        if key in stored:
            search.reason, found = json.loads(stored[key])
            search.twins = [_Twin(**twin) for twin in found]
        elif search.reference.test == "" or unconfined:
            search.twins = search.candidates[:per_task]
    pending = {key: s for key, s in zip(keys, searches, strict=True) if key not in stored and not s.twins}
    if pending:
        _verify([s for s in pending.values() if s.candidates], per_task, judge)
        store.put({key: _encoded(search) for key, search in pending.items()})
    return _table(searches, unconfined)


def twin_samples(
    tokenizer, tasks: datasets.Dataset, ids: Sequence[str], template: str, per_task: int | None = None
) -> tuple[dict[str, prompts.Sample], list[tuple[str, prompts.Sample]]]:
    """The references of `tasks` by id, and (id, twin) pairs, as samples for `heldout.likelihood_table`.

    `ids` are those of the rows. Each row has up to `per_task` twins, or none if that is None. `template` is
    resolved.
    """
    questions = dict(zip(ids, prompts.questions(tasks, template), strict=True))

    def samples(owners: Sequence[str], programs: list[str]) -> list[prompts.Sample]:
        own = [questions[task_id] for task_id in owners]
        return prompts.training_samples(tokenizer, own, programs, template, MAX_LENGTH)

    references = dict(zip(ids, samples(ids, tasks["response"][:]), strict=True))
    if per_task is None:
        return references, []
    broken = twins(tasks, per_task=per_task)
    owners = broken["id"][:]
    return references, list(zip(owners, samples(owners, broken["twin"][:]), strict=True))


def _search(reference: _Reference) -> _Search:
    head = reference.head
    candidates = [
        _Twin(mutant.code[len(head) :], mutant.kind, mutant.line, f"{mutant.old} to {mutant.new}")
        for mutant in mutants(head + reference.body, first_line=head.count("\n") + 1)
        if mutant.code.startswith(head)
    ]
    reason = None if candidates else "no token of the reference can be replaced"
    return _Search(reference, candidates, reason=reason)


def _verify(searches: list[_Search], per_task: int, judge: _Judge) -> None:
    """Judge the references with their first candidates, then as many more as twins are missing."""
    total = sum(min(per_task, len(search.candidates)) for search in searches)
    with progress.bar(total, "verify twins", unit="twin") as bar:
        first = True
        while unfinished := [search for search in searches if _continues(search, per_task)]:
            batch = [(search, search.candidates[: per_task - len(search.twins)]) for search in unfinished]
            requests = [(s.reference, s.reference.body) for s, _ in batch] if first else []
            requests += [(s.reference, twin.body) for s, tried in batch for twin in tried]
            verdicts = iter(judge(requests))
            for search, _ in batch if first else ():
                if (verdict := next(verdicts)) != PASS:
                    search.reason = f"the reference does not pass its tests ({verdict})"
            for search, tried in batch:
                del search.candidates[: len(tried)]
                judged = [_Twin(**asdict(twin) | {"verdict": next(verdicts)}) for twin in tried]
                broken = [twin for twin in judged if twin.verdict in _BROKEN and not search.reason]
                search.twins += broken
                bar.update(len(broken))
            first = False
    for search in searches:
        if not search.twins and not search.reason:
            search.reason = "no replaced token makes the tests fail"


def _continues(search: _Search, per_task: int) -> bool:
    return not search.reason and bool(search.candidates) and len(search.twins) < per_task


def _encoded(search: _Search) -> bytes:
    return json.dumps([search.reason, [asdict(twin) for twin in search.twins]]).encode()


def _references(
    tasks: str | datasets.Dataset, limit: int | None
) -> tuple[list[_Reference], _Judge, list[str]]:
    """The references of `tasks`, how they are judged, and what the verdicts depend on besides."""
    if isinstance(tasks, str) and tasks in TITLES:
        source = code_tasks(tasks)
        source.check(sanitize=False)
        references = [
            _Reference(task_id, task["prompt"], task["canonical_solution"], head=task["prompt"], test=None)
            for task_id, task in list(source.benchmark.tasks.items())[:limit]
        ]
        return references, _suite_judge(source), [source.benchmark.sha256, evalplus.VERSION]
    table, _ = instruction_tasks(tasks)
    tables.require(table, ["id", "instruction", "response"], "wb.load")
    table = table.select(range(min(limit or len(table), len(table))))
    checks = table["check"][:] if "check" in table.column_names else [""] * len(table)
    rows = zip(table["id"][:], table["instruction"][:], table["response"][:], checks, strict=True)
    return [_of_row(*row) for row in rows], _judge_by_assertions, []


def _of_row(row_id, instruction: str, response: str, check: str | None) -> _Reference:
    if not isinstance(response, str):
        raise UserError(f"row {row_id!r}: response={response!r} must be a text.")
    body = extract_code(response)
    start = response.find(body)
    if start < 0:  # line breaks other than \n
        body, start = response, 0
    after = response[start + len(body) :]
    test = check if check and check.strip() else ""
    return _Reference(str(row_id), instruction, body, before=response[:start], after=after, test=test)


def _judge_by_assertions(requests: Sequence[tuple[_Reference, str]]) -> list[str]:
    codes, tests = [body for _, body in requests], [reference.test for reference, _ in requests]
    return [outcome.verdict for outcome in run_with_tests(codes, tests, seconds=_SECONDS)]


def _suite_judge(source: EvalPlusTasks) -> _Judge:
    def judge(requests: Sequence[tuple[_Reference, str]]) -> list[str]:
        samples = [Sample(reference.id, reference.head + body, line=0) for reference, body in requests]
        verdicts = suites.judge_samples(source.benchmark, samples).tasks
        return verdicts["base"].where(verdicts["base"] != PASS, verdicts["plus"]).tolist()

    return judge


def _table(searches: list[_Search], unconfined: str | None) -> datasets.Dataset:
    rows = [
        (
            *(search.reference.id, search.reference.instruction, search.reference.response),
            search.reference.before + twin.body + search.reference.after,
            *(twin.kind, twin.line, twin.change, twin.verdict is not None, twin.verdict),
        )
        for search in searches
        for twin in search.twins
    ]
    kinds = {"line": "int64", "verified": "bool"}
    features = datasets.Features({name: datasets.Value(kinds.get(name, "string")) for name in _COLUMNS})
    columns = dict(zip(_COLUMNS, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
    table = datasets.Dataset.from_dict({name: columns.get(name, []) for name in _COLUMNS}, features)
    without = {search.reference.id: search.reason for search in searches if not search.twins}
    unverified = len({row[0] for row in rows if not row[-2]})
    if unverified:
        why = f"cannot be tested here ({unconfined})" if unconfined else "have no tests"
        progress.say(f"{unverified} tasks {why}; their twins are unverified and may be correct.")
    return tables.note(table, "twins", {"tasks": len(searches), "unverified": unverified, "without": without})

"""Judge solutions on both suites of HumanEval or MBPP, against what the reference solutions return."""

from collections import defaultdict
from dataclasses import dataclass

import pandas as pd

from ...core import progress
from ..benchmarks import Benchmark
from ..samples import Sample, writable
from ..sandbox.run import ERROR, PASS
from .pool import WorkerPool
from .references import SUITES, references, task_fields


@dataclass(frozen=True, eq=False)
class SuiteVerdicts:
    """Verdicts on samples of HumanEval or MBPP.

    `tasks` has one row per sample: `task_id`; `sample`, its number within the task from 0; for each suite the
    verdict (`base`), whether EvalPlus would pass it (`base_compat`), the reason (`base_detail`) and the first
    input that fails (`base_input`), each also with `plus`; the task's `prompt` and the `solution`.

    `defects` maps the ids of tasks on which the benchmark itself is wrong to an explanation. `n_sanitized`
    and `n_emptied` count samples that the sanitizer changed, and those it left without code.
    """

    tasks: pd.DataFrame
    defects: dict[str, str]
    n_sanitized: int = 0
    n_emptied: int = 0


def judge_samples(
    benchmark: Benchmark, samples: list[Sample], *, sanitize: bool = False, workers: int | None = None
) -> SuiteVerdicts:
    """Run every sample in the sandbox on both suites and compare its values by EvalPlus's rules.

    `sanitize` passes the code through EvalPlus's sanitizer first. `workers` is the number of worker
    processes, by default that of the cores. Raises SandboxError if this machine cannot confine code,
    UserError if EvalPlus is not available.
    """
    with WorkerPool(workers) as pool:
        codes = [sample.code for sample in samples]
        judged_codes = _sanitized(benchmark, samples, pool) if sanitize else codes
        codes_of = defaultdict(dict)  # task_id -> its different codes, in order
        for sample, code in zip(samples, judged_codes, strict=True):
            codes_of[sample.task_id][code] = None
        summaries, pending = {}, {}
        # While one worker computes a slow reference, the others judge tasks whose references are ready.
        for pair, summaries[pair] in references(benchmark, list(codes_of), pool):
            task_id, _ = pair
            request = {"do": "judge", "task": task_fields(benchmark, task_id), "key": summaries[pair]["key"]}
            pending |= {(*pair, code): pool.submit(request | {"code": code}) for code in codes_of[task_id]}
        replies = {}
        with progress.bar(len(pending), "judge", unit="suite") as bar:
            for key, reply in pending.items():
                replies[key] = reply.result()
                bar.update(1)
    return SuiteVerdicts(
        _table(benchmark, samples, judged_codes, replies, summaries),
        _defects(replies, summaries),
        sum(old != new for old, new in zip(codes, judged_codes, strict=True)),
        sum(bool(old.strip()) and not new.strip() for old, new in zip(codes, judged_codes, strict=True)),
    )


def _sanitized(benchmark: Benchmark, samples: list[Sample], pool: WorkerPool) -> list[str]:
    """Each sample's code as EvalPlus's sanitizer leaves it, or unchanged if the sanitizer fails."""
    names = [benchmark.tasks[sample.task_id]["entry_point"] for sample in samples]
    requests = [
        {"do": "sanitize", "code": sample.code, "entry_point": name}
        for sample, name in zip(samples, names, strict=True)
    ]
    with progress.bar(len(requests), "sanitize", unit="sample") as bar:
        codes = []
        for sample, reply in zip(samples, pool.map(requests), strict=True):
            codes.append(reply.get("code", sample.code))
            bar.update(1)
    return codes


def _table(
    benchmark: Benchmark, samples: list[Sample], codes: list[str], replies: dict, summaries: dict
) -> pd.DataFrame:
    rows, numbers = [], {}
    for sample, code in zip(samples, codes, strict=True):
        number = numbers[sample.task_id] = numbers.get(sample.task_id, -1) + 1
        row = {"task_id": sample.task_id, "sample": number}
        reply_of = {suite: replies[sample.task_id, suite, code] for suite in SUITES}
        row |= {suite: reply.get("verdict", ERROR) for suite, reply in reply_of.items()}
        for suite, reply in reply_of.items():
            summary = summaries[sample.task_id, suite]
            complete = summary["answered"] == summary["inputs"]
            row[f"{suite}_compat"] = reply.get("compatible", False) and complete
            row[f"{suite}_detail"] = writable(reply.get("detail", reply.get("failed")))
            row[f"{suite}_input"] = writable(reply.get("input"))
        prompt = benchmark.tasks[sample.task_id]["prompt"]
        rows.append(row | {"prompt": prompt, "solution": writable(code)})
    return pd.DataFrame(rows)


def _defects(replies: dict, summaries: dict) -> dict[str, str]:
    defects = {}
    for (task_id, suite, _), reply in replies.items():
        n, answered, why = (summaries[task_id, suite][name] for name in ("inputs", "answered", "why"))
        if answered < n:
            defects[task_id] = (
                f"the reference solution answers {answered} of {n} {suite} inputs ({why}); judged by these, "
                "while EvalPlus fails every solution"
            )
        elif reply.get("verdict") == PASS and not reply["compatible"]:
            defects[task_id] = "EvalPlus's checker fails every solution of it, its own included"
    return defects

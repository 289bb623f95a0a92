"""Solutions -> verdicts on both suites of a benchmark, compared with what the reference solutions give."""

from collections import defaultdict
from dataclasses import dataclass

import pandas as pd

from ...core import progress
from ..benchmarks import Benchmark
from ..samples import Sample, writable
from ..sandbox.run import ERROR, PASS
from .pool import Judges
from .references import SUITES, references, told


@dataclass(frozen=True)
class Judged:
    """`tasks` has a row for each sample: task_id, sample (0, 1, ... within the task), and for each suite the
    verdict ("base"), whether EvalPlus would pass it ("base_compat"), why not ("base_detail") and the first
    input that fails ("base_input"), last the task's prompt and the solution. `defects` says where a benchmark
    cannot be taken at its word: task_id -> why."""

    tasks: pd.DataFrame
    defects: dict[str, str]
    n_sanitized: int = 0
    n_emptied: int = 0


def judge_samples(
    benchmark: Benchmark, samples: list[Sample], *, sanitize: bool = False, workers: int | None = None
) -> Judged:
    """Run every sample in the sandbox and compare what it answers."""
    with Judges(workers) as judges:
        codes = [sample.code for sample in samples]
        changed = _sanitized(benchmark, samples, judges) if sanitize else codes
        codes_of = defaultdict(dict)  # task_id -> its different codes, in order
        for sample, code in zip(samples, changed, strict=True):
            codes_of[sample.task_id][code] = None
        known, asked = {}, {}
        # While one judge computes a long reference, the other judges what is known.
        for place, known[place] in references(benchmark, list(codes_of), judges):
            task_id, _ = place
            about_it = {"do": "judge", "task": told(benchmark, task_id), "key": known[place]["key"]}
            asked |= {(*place, code): judges.ask(about_it | {"code": code}) for code in codes_of[task_id]}
        answers = {}
        with progress.bar(len(asked), "judge", unit="suite") as bar:
            for key, answer in asked.items():
                answers[key] = answer.result()
                bar.update(1)
    return Judged(
        _table(benchmark, samples, changed, answers, known),
        _defects(answers, known),
        sum(old != new for old, new in zip(codes, changed, strict=True)),
        sum(bool(old.strip()) and not new.strip() for old, new in zip(codes, changed, strict=True)),
    )


def _sanitized(benchmark: Benchmark, samples: list[Sample], judges: Judges) -> list[str]:
    """Each sample's code as EvalPlus's sanitizer leaves it, or as it is where the sanitizer gives up."""
    names = [benchmark.tasks[sample.task_id]["entry_point"] for sample in samples]
    requests = [
        {"do": "sanitize", "code": sample.code, "entry_point": name}
        for sample, name in zip(samples, names, strict=True)
    ]
    with progress.bar(len(requests), "sanitize", unit="sample") as bar:
        found = []
        for sample, answer in zip(samples, judges.map(requests), strict=True):
            found.append(answer.get("code", sample.code))
            bar.update(1)
    return found


def _table(
    benchmark: Benchmark, samples: list[Sample], codes: list[str], answers: dict, known: dict
) -> pd.DataFrame:
    rows, seen = [], {}
    for sample, code in zip(samples, codes, strict=True):
        number = seen[sample.task_id] = seen.get(sample.task_id, -1) + 1
        row = {"task_id": sample.task_id, "sample": number}
        found = {suite: answers[sample.task_id, suite, code] for suite in SUITES}
        row |= {suite: answer.get("verdict", ERROR) for suite, answer in found.items()}
        for suite, answer in found.items():
            reference = known[sample.task_id, suite]
            complete = reference["answered"] == reference["inputs"]
            row[f"{suite}_compat"] = answer.get("compatible", False) and complete
            row[f"{suite}_detail"] = writable(answer.get("detail", answer.get("failed")))
            row[f"{suite}_input"] = writable(answer.get("input"))
        prompt = benchmark.tasks[sample.task_id]["prompt"]
        rows.append(row | {"prompt": prompt, "solution": writable(code)})
    return pd.DataFrame(rows)


def _defects(answers: dict, known: dict) -> dict[str, str]:
    found = {}
    for (task_id, suite, _), answer in answers.items():
        n, answered, why = (known[task_id, suite][name] for name in ("inputs", "answered", "why"))
        if answered < n:
            found[task_id] = (
                f"the reference solution answers {answered} of {n} {suite} inputs ({why}); judged by these, "
                "while EvalPlus fails every solution"
            )
        elif answer.get("verdict") == PASS and not answer["compatible"]:
            found[task_id] = "EvalPlus's checker fails every solution of it, its own included"
    return found

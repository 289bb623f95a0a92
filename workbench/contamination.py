"""Leakage: rows that share text with the tasks of HumanEval or MBPP, on which a model is evaluated.

Two tests, on lower-cased words. "exact": a field of the row equals a task's description, prompt or solution.
"n-gram": it shares n consecutive words with one (as in GPT-3, arXiv 2005.14165, appendix C). Runs that
several tasks share, or with few distinct names (`1 2 3 4 ...`), are idioms and count for none. Not
covered: paraphrases and translations. Texts are compared, never run.
"""

import ast
import gzip
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import platformdirs

from . import progress, tables
from .errors import MissingFileError, UserError, one_of, positive

BENCHMARKS = {"humaneval": "HumanEvalPlus", "mbpp": "MbppPlus"}
_FEWEST_WORDS = 6  # of a text that may match exactly: `return a + b` is nobody's
_WORD = re.compile(r"\w+")
_COLUMNS = ("contaminated_by", "contaminated_how", "contaminated_text")


@dataclass(frozen=True)
class Task:
    """A benchmark task: `texts` maps "description", "prompt" and "solution" to their words."""

    id: str
    texts: dict[str, tuple[str, ...]]


def mark_contaminated(
    ds: datasets.Dataset, benchmarks=("humaneval", "mbpp"), *, n: int = 13, paths: dict | None = None
) -> datasets.Dataset:
    """Add `contaminated_by` (task id), `contaminated_how` and `contaminated_text`; null where none matches.

    `n`: consecutive words to share. Benchmarks are EvalPlus's files: `paths[name]`, else
    $HUMANEVAL_OVERRIDE_PATH or $MBPP_OVERRIDE_PATH, else EvalPlus's cache folder.
    """
    tables.require(ds, ["instruction", "response"], "wb.load")
    positive("n", n)
    tasks = [task for name in benchmarks for task in read_tasks(benchmark_path(name, paths))]
    exact, runs = _exact(tasks), _runs(tasks, n)
    found = []
    with progress.bar(len(ds), "contamination") as bar:
        for fields in zip(ds["instruction"][:], ds["response"][:], strict=True):
            found.append(_match([words(text) for text in fields], exact, runs, n) or (None,) * 3)
            bar.update()
    columns = {name: [match[i] for match in found] for i, name in enumerate(_COLUMNS)}
    return tables.with_columns(ds, columns, dict.fromkeys(_COLUMNS, tables.TEXT))


def benchmark_path(name: str, paths: dict | None = None) -> Path:
    """The EvalPlus file of benchmark `name`, JSONL, possibly gzipped."""
    one_of("benchmark", name, BENCHMARKS)
    variable = f"{name.upper()}_OVERRIDE_PATH"
    given = (paths or {}).get(name) or os.environ.get(variable)
    if given:
        if not Path(given).expanduser().is_file():
            raise MissingFileError(f"{given} of benchmark {name} does not exist; check the path.")
        return Path(given).expanduser()
    cached = sorted(Path(platformdirs.user_cache_dir("evalplus")).glob(f"{BENCHMARKS[name]}-v*.jsonl"))
    if not cached:
        raise MissingFileError(
            f"benchmark {name} is not at hand; give paths={{{name!r}: FILE}}, set ${variable} to EvalPlus's "
            f"{BENCHMARKS[name]} file, or leave {name} out of benchmarks."
        )
    return cached[-1]


def read_tasks(path: Path) -> Iterator[Task]:
    """The tasks of an EvalPlus file."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(filter(str.strip, file), start=1):
            try:
                row = json.loads(line)
                prompt, solution, name = row["prompt"], row["canonical_solution"], row["task_id"]
            except (ValueError, KeyError) as error:
                raise UserError(f"{path}, task {number}: not EvalPlus's format ({error!r}).") from error
            texts = {"description": description(prompt), "prompt": prompt, "solution": solution}
            yield Task(name, {part: words(text) for part, text in texts.items()})


def description(prompt: str) -> str:
    """The last docstring of `prompt` up to its examples; the prompt itself where it does not parse."""
    try:
        tree = ast.parse(prompt)
    except SyntaxError:
        return prompt
    holders = (ast.Module, ast.FunctionDef)
    docs = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, holders)]
    last = next((doc for doc in reversed(docs) if doc), "")
    return re.split(r">>>|\bassert\b|\bexamples?\b", last, maxsplit=1, flags=re.IGNORECASE)[0]


def words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def _exact(tasks: list[Task]) -> dict[tuple, tuple[str, str]]:
    """Whole texts -> task and part."""
    texts = ((text, (task.id, part)) for task in tasks for part, text in task.texts.items())
    return {text: where for text, where in texts if len(text) >= _FEWEST_WORDS}


def _runs(tasks: list[Task], n: int) -> dict[tuple, tuple[str, str]]:
    """Runs of `n` words -> task and part, without those of several tasks."""
    owners, found = {}, {}
    for task in tasks:
        for part, text in task.texts.items():
            for at in range(len(text) - n + 1):
                run = text[at : at + n]
                owners.setdefault(run, set()).add(task.id)
                found.setdefault(run, (task.id, part))
    return {run: where for run, where in found.items() if len(owners[run]) == 1 and _telling(run)}


def _telling(run: tuple[str, ...]) -> bool:
    """Whether at least half of `run` are different words of three letters or more."""
    return 2 * len({word for word in run if len(word) > 2 and not word.isdigit()}) >= len(run)


def _match(fields: list[tuple], exact: dict, runs: dict, n: int) -> tuple[str, str, str] | None:
    """Task, how, and the shared words of a row's first match; exact ones first."""
    for field in fields:
        if field in exact:
            task, part = exact[field]
            return task, f"exact {part}", " ".join(field)
    for field in fields:
        for at in range(len(field) - n + 1):
            if (run := field[at : at + n]) in runs:
                task, part = runs[run]
                return task, f"{n}-gram of {part}", " ".join(run)
    return None

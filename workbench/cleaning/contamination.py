"""Leakage: rows that share text with the tasks of HumanEval or MBPP, on which a model is evaluated.

Two tests, on lower-cased words. "exact": a field of the row equals a task's description, prompt or solution.
"n-gram": it holds n consecutive words of one, or the whole of one that has 8 words or more. n is 13; both
bounds are those of GPT-3 (arXiv 2005.14165, appendix C), and whole texts are what StarCoder's authors sought
(arXiv 2305.06161). What several tasks share, or what hardly has names (`1 2 3 4 ...`), is idiom and counts
for none.

Not covered: paraphrases, translations, parts of short texts, and code whose names were changed, of which next
to nothing is found. Short solutions inside a longer answer are overlooked, too: about one in eight
(`tests/benchmarks/contamination.py` prints the recall by kind). Texts are compared, never run.
"""

import ast
import gzip
import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import datasets
import platformdirs

from ..core import progress, tables
from ..core.errors import MissingFileError, UserError, one_of, positive

BENCHMARKS = {"humaneval": "HumanEvalPlus", "mbpp": "MbppPlus"}
_FEWEST_WORDS = 6  # of a text that may match exactly: `return a + b` is nobody's
_SHORTEST = 8  # words of a text that is sought whole inside a longer one
_FEWEST_NAMES = 3  # in such a text
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
    $HUMANEVAL_OVERRIDE_PATH or $MBPP_OVERRIDE_PATH, else the newest in EvalPlus's cache folder.
    """
    tables.require(ds, ["instruction", "response"], "wb.load")
    positive("n", n)
    if isinstance(benchmarks, str) or not len(benchmarks):
        raise UserError(f"benchmarks={benchmarks!r} must be a list of {' or '.join(BENCHMARKS)}.")
    tasks = [task for name in benchmarks for task in read_tasks(benchmark_path(name, paths))]
    exact, runs = _exact(tasks), Runs(tasks, n)
    found = []
    with progress.bar(len(ds), "contamination") as bar:
        for fields in zip(ds["instruction"][:], ds["response"][:], strict=True):
            found.append(_match([words(text or "") for text in fields], exact, runs) or (None,) * 3)
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
    cached = list(Path(platformdirs.user_cache_dir("evalplus")).glob(f"{BENCHMARKS[name]}-v*.jsonl"))
    if not cached:
        raise MissingFileError(
            f"benchmark {name} is not at hand; give paths={{{name!r}: FILE}}, set ${variable} to EvalPlus's "
            f"{BENCHMARKS[name]} file, or leave {name} out of benchmarks."
        )
    return max(cached, key=lambda path: [int(part) for part in re.findall(r"\d+", path.stem)])


def read_tasks(path: Path) -> list[Task]:
    """The tasks of an EvalPlus file."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            lines = [line for line in file if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); give EvalPlus's file anew.") from error
    if not lines:
        raise UserError(f"{path} holds no task; give EvalPlus's file anew.")
    return [_task(path, number, line) for number, line in enumerate(lines, start=1)]


def _task(path: Path, number: int, line: str) -> Task:
    try:
        row = json.loads(line)
        name, prompt, solution = (row[key] for key in ("task_id", "prompt", "canonical_solution"))
        texts = {"description": description(prompt), "prompt": prompt, "solution": solution}
        return Task(name, {part: words(text) for part, text in texts.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}, task {number}: not EvalPlus's format ({error!r}).") from error


def description(prompt: str) -> str:
    """The last docstring of `prompt` up to its examples; the prompt itself where it does not parse."""
    try:
        with warnings.catch_warnings():  # of old escapes in the benchmark's own code
            warnings.simplefilter("ignore")
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


class Runs:
    """Runs of words that only one task has, with that task and the part: whole texts, and runs of `n`."""

    def __init__(self, tasks: list[Task], n: int):
        self.head = min(n, _SHORTEST)  # words by which runs are looked up
        owners, found = {}, {}
        for task in tasks:
            for part, text in task.texts.items():
                windows = [text[at : at + n] for at in range(len(text) - n + 1)]
                whole = [text] if len(text) >= self.head and _names(text) >= _FEWEST_NAMES else []
                for run in [*whole, *(run for run in windows if 2 * _names(run) >= n)]:
                    owners.setdefault(run, set()).add(task.id)
                    found.setdefault(run, (run, task.id, part))
        self.by_head: dict[tuple, list] = {}
        for run, where in found.items():
            if len(owners[run]) == 1:
                self.by_head.setdefault(run[: self.head], []).append(where)

    def first(self, field: tuple[str, ...]) -> tuple[tuple[str, ...], str, str] | None:
        """The first run in `field`, its task and its part."""
        for at in range(len(field) - self.head + 1):
            for run, task, part in self.by_head.get(field[at : at + self.head], ()):
                if field[at : at + len(run)] == run:
                    return run, task, part
        return None


def _names(run: tuple[str, ...]) -> int:
    """How many different words of three letters or more are in `run`."""
    return len({word for word in run if len(word) > 2 and not word.isdigit()})


def _match(fields: list[tuple], exact: dict, runs: Runs) -> tuple[str, str, str] | None:
    """Task, how, and the shared words of a row's first match; exact ones first."""
    for field in fields:
        if field in exact:
            task, part = exact[field]
            return task, f"exact {part}", " ".join(field)
    for run, task, part in filter(None, map(runs.first, fields)):
        return task, f"{len(run)}-gram of {part}", " ".join(run)
    return None

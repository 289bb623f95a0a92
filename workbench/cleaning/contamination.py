"""Detect rows that share text with the tasks of HumanEval or MBPP, on which models are evaluated.

Two tests compare lower-case words:

- "exact": the instruction or response equals a task's description, prompt or solution.
- "n-gram": it contains n consecutive words of one of them, or all words of one that has at least 8 words.

The defaults of n = 13 and 8 words are those of GPT-3 (arXiv 2005.14165, appendix C). StarCoder's authors also
searched for whole texts (arXiv 2305.06161). Word sequences that several tasks share, or that consist mostly
of numbers and short names (`1 2 3 4 ...`), are common idioms and do not count.

Not covered: paraphrases, translations, parts of short texts, and code with renamed identifiers, which is
almost never detected. About one in eight short solutions inside a longer answer is missed, too
(`tests/benchmarks/contamination.py` prints the recall by kind). Texts are compared, never executed.
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
_MIN_EXACT_WORDS = 6  # of a text that may match exactly: `return a + b` belongs to no task
_MIN_CONTAINED_WORDS = 8  # of a text that is searched for inside longer ones
_MIN_CONTAINED_NAMES = 3  # of such a text
_WORD = re.compile(r"\w+")
_COLUMNS = ("contaminated_by", "contaminated_how", "contaminated_text")


@dataclass(frozen=True)
class Task:
    """A benchmark task. `texts` maps "description", "prompt" and "solution" to their words."""

    id: str
    texts: dict[str, tuple[str, ...]]


def mark_contaminated(
    ds: datasets.Dataset, benchmarks=("humaneval", "mbpp"), *, n: int = 13, paths: dict | None = None
) -> datasets.Dataset:
    """Mark rows that contain text of the tasks of HumanEval or MBPP.

    Adds three columns, which are null in rows without a match:

    - `contaminated_by`: the id of the task, e.g. "HumanEval/0";
    - `contaminated_how`: the kind of match, e.g. "exact solution" or "13-gram of prompt";
    - `contaminated_text`: the words in common.

    Only the first match of a row is stored, and exact matches come first. No row is removed:
    `wb.drop_flagged` does that.

    Parameters
    ----------
    benchmarks : a list with "humaneval", "mbpp" or both.
    n : number of consecutive words that count as a match. Whole texts of at least min(n, 8) words match, too.
    paths : maps a benchmark to its EvalPlus file (.jsonl or .jsonl.gz). Without an entry the file is
        `$HUMANEVAL_OVERRIDE_PATH` or `$MBPP_OVERRIDE_PATH`, or else the newest one in EvalPlus's cache
        folder. Nothing is downloaded.

    Raises MissingFileError if there is no file, and UserError if a file cannot be read or a parameter is
    invalid. Not covered: paraphrases, translations, parts of short texts, and code with renamed identifiers.
    About one in eight short solutions inside a longer answer is missed.
    """
    tables.require(ds, ["instruction", "response"], "wb.load")
    positive("n", n)
    if isinstance(benchmarks, str) or not len(benchmarks):
        raise UserError(f"benchmarks={benchmarks!r} must be a list of {' or '.join(BENCHMARKS)}.")
    tasks = [task for name in benchmarks for task in read_tasks(benchmark_path(name, paths))]
    exact, runs = _exact(tasks), Runs(tasks, n)
    matches = []
    with progress.bar(len(ds), "contamination") as bar:
        for fields in tables.cells(ds, ["instruction", "response"]):
            matches.append(_match([words(text or "") for text in fields], exact, runs) or (None,) * 3)
            bar.update()
    columns = {name: [match[i] for match in matches] for i, name in enumerate(_COLUMNS)}
    return tables.with_columns(ds, columns, dict.fromkeys(_COLUMNS, tables.TEXT))


def benchmark_path(name: str, paths: dict | None = None) -> Path:
    """Return the EvalPlus file of benchmark `name`, or raise MissingFileError. See `mark_contaminated`."""
    one_of("benchmark", name, BENCHMARKS)
    variable = f"{name.upper()}_OVERRIDE_PATH"
    path = (paths or {}).get(name) or os.environ.get(variable)
    if path:
        if not Path(path).expanduser().is_file():
            raise MissingFileError(f"{path} of benchmark {name} does not exist; check the path.")
        return Path(path).expanduser()
    cached = list(Path(platformdirs.user_cache_dir("evalplus")).glob(f"{BENCHMARKS[name]}-v*.jsonl"))
    if not cached:
        raise MissingFileError(
            f"benchmark {name}: this machine lacks EvalPlus's {BENCHMARKS[name]}; set ${variable} to "
            f"that file, give paths={{{name!r}: FILE}}, or leave {name} out of benchmarks."
        )
    return max(cached, key=lambda path: [int(part) for part in re.findall(r"\d+", path.stem)])


def read_tasks(path: Path) -> list[Task]:
    """Return the tasks of an EvalPlus file. Raises UserError if it cannot be read or has another format."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            lines = [line for line in file if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); download EvalPlus's file again.") from error
    if not lines:
        raise UserError(f"{path} holds no task; download EvalPlus's file again.")
    return [_task(path, number, line) for number, line in enumerate(lines, start=1)]


def _task(path: Path, number: int, line: str) -> Task:
    try:
        row = json.loads(line)
        name, prompt, solution = (row[key] for key in ("task_id", "prompt", "canonical_solution"))
        texts = {"description": description(prompt), "prompt": prompt, "solution": solution}
        return Task(name, {part: words(text) for part, text in texts.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}, task {number}: not EvalPlus's format ({error!r}); download EvalPlus's file again."
        ) from error


def description(prompt: str) -> str:
    """Return the last docstring of `prompt` up to its examples, or all of `prompt` if it does not parse."""
    try:
        with warnings.catch_warnings():  # about invalid escapes in the benchmark's own code
            warnings.simplefilter("ignore")
            tree = ast.parse(prompt)
    except SyntaxError:
        return prompt
    documented = (ast.Module, ast.FunctionDef)
    docs = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
    last = next((doc for doc in reversed(docs) if doc), "")
    return re.split(r">>>|\bassert\b|\bexamples?\b", last, maxsplit=1, flags=re.IGNORECASE)[0]


def words(text: str) -> tuple[str, ...]:
    """Return the words of `text` in lower case, without punctuation."""
    return tuple(_WORD.findall(text.lower()))


def _exact(tasks: list[Task]) -> dict[tuple, tuple[str, str]]:
    """Map each text that may match exactly to its task id and part."""
    texts = ((text, (task.id, part)) for task in tasks for part, text in task.texts.items())
    return {text: source for text, source in texts if len(text) >= _MIN_EXACT_WORDS}


class Runs:
    """Index of the word sequences that occur in one task only: whole texts, and all runs of `n` words."""

    def __init__(self, tasks: list[Task], n: int):
        self.head = min(n, _MIN_CONTAINED_WORDS)  # runs are indexed by their first `head` words
        owners, sources = {}, {}
        for task in tasks:
            for part, text in task.texts.items():
                windows = [text[at : at + n] for at in range(len(text) - n + 1)]
                is_searched = len(text) >= self.head and _names(text) >= _MIN_CONTAINED_NAMES
                whole = [text] if is_searched else []
                for run in [*whole, *(run for run in windows if 2 * _names(run) >= n)]:
                    owners.setdefault(run, set()).add(task.id)
                    sources.setdefault(run, (run, task.id, part))
        self.by_head: dict[tuple, list] = {}
        for run, source in sources.items():
            if len(owners[run]) == 1:
                self.by_head.setdefault(run[: self.head], []).append(source)

    def first(self, field: tuple[str, ...]) -> tuple[tuple[str, ...], str, str] | None:
        """Return the first indexed run in `field` with its task id and part, or None."""
        for at in range(len(field) - self.head + 1):
            for run, task, part in self.by_head.get(field[at : at + self.head], ()):
                if field[at : at + len(run)] == run:
                    return run, task, part
        return None


def _names(run: tuple[str, ...]) -> int:
    """Return the number of distinct words in `run` that have at least 3 letters and are no numbers."""
    return len({word for word in run if len(word) > 2 and not word.isdigit()})


def _match(fields: list[tuple], exact: dict, runs: Runs) -> tuple[str, str, str] | None:
    """Return task id, kind and common words of a row's first match, exact matches first, or None."""
    for field in fields:
        if field in exact:
            task, part = exact[field]
            return task, f"exact {part}", " ".join(field)
    for run, task, part in filter(None, map(runs.first, fields)):
        return task, f"{len(run)}-gram of {part}", " ".join(run)
    return None

"""Read the task files of HumanEval and MBPP, with the inputs that EvalPlus adds (HumanEval+, MBPP+).

One file holds both suites: "base" has the inputs of the original benchmark, "plus" those that EvalPlus adds.
The file is searched where EvalPlus searches it: in HUMANEVAL_OVERRIDE_PATH or MBPP_OVERRIDE_PATH, in
EvalPlus's cache folder, and in this package's cache, into which EvalPlus's release is downloaded once.
"""

import gzip
import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.request import urlopen

import platformdirs

from ..core import progress
from ..core.errors import MissingFileError, UserError
from ..core.folders import new_content
from ..core.store import cache_dir

_FIELDS = {"task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol"}


@dataclass(frozen=True)
class _Source:
    file: str
    version: str
    sha256: str  # of the uncompressed lines
    override: str  # environment variable with the path of another file


SOURCES = {
    "humaneval": _Source(
        "HumanEvalPlus",
        "v0.1.10",
        "42526ec0e7d5f3ee0b06d6ced98f8c8bae3d76519151bfb3d36f79010645bd7f",
        "HUMANEVAL_OVERRIDE_PATH",
    ),
    "mbpp": _Source(
        "MbppPlus",
        "v0.2.0",
        "b54e762755248ca411b523c917fa9f93c07b5ff2966bf60b3917b853926a3dad",
        "MBPP_OVERRIDE_PATH",
    ),
}
NAMES = {"humaneval": "HumanEval", "mbpp": "MBPP"}


@dataclass(frozen=True, eq=False)
class Benchmark:
    """`tasks` maps task_id to the task as in EvalPlus's file. `version` is EvalPlus's release, or "unknown"
    if the file is not the release in `SOURCES`; `sha256` is that of its uncompressed lines."""

    dataset: str
    version: str
    sha256: str
    tasks: dict[str, dict]

    @property
    def title(self) -> str:
        return f"{NAMES[self.dataset]}(+) {self.version}"


@cache
def _read(path: Path, dataset: str, modified: int) -> Benchmark:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    sha256 = hashlib.sha256(content).hexdigest()
    tasks = {}
    for number, line in enumerate(content.decode("utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        task = json.loads(line)
        if missing := _FIELDS - task.keys():
            raise UserError(f"{path}, line {number}: a task without {', '.join(sorted(missing))}.")
        if task["task_id"] in tasks:
            raise UserError(f"{path}, line {number}: task_id={task['task_id']!r} stands on a line before it.")
        tasks[task["task_id"]] = task
    source = SOURCES[dataset]
    return Benchmark(dataset, source.version if sha256 == source.sha256 else "unknown", sha256, tasks)


def load(dataset: str) -> Benchmark:
    """Load the benchmark `dataset`, "humaneval" or "mbpp".

    Raises MissingFileError if the override path is wrong, UserError if the file cannot be read or downloaded.
    """
    path = _find(dataset)
    try:
        return _read(path, dataset, path.stat().st_mtime_ns)
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as the tasks of {dataset}: {error}.") from error


def _find(dataset: str) -> Path:
    source = SOURCES[dataset]
    if override := os.environ.get(source.override):
        if not (path := Path(override).expanduser()).is_file():
            raise MissingFileError(f"{source.override}={override}: there is no such file.")
        return path
    folder = Path(platformdirs.user_cache_dir("evalplus", appauthor=False))
    cached = cache_dir() / "benchmarks" / f"{source.file}-{source.version}.jsonl"
    for path in (folder / cached.name, cached):
        if path.is_file():
            return path
    return _download(source, cached)


def _download(source: _Source, path: Path) -> Path:
    release = f"https://github.com/evalplus/{source.file.lower()}_release/releases/download/{source.version}"
    url = f"{release}/{source.file}.jsonl.gz"
    progress.say(f"Downloading {url} ...")
    try:
        with urlopen(url, timeout=30) as response:
            content = gzip.decompress(response.read())
    except OSError as error:
        raise UserError(
            f"{source.file} {source.version} cannot be downloaded from {url} ({error}); "
            f"give its path in {source.override}."
        ) from error
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise UserError(
            f"the file at {url} is not {source.file} {source.version} (another SHA-256) and was discarded; "
            f"give the right file in {source.override}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_content(path) as scratch:
        scratch.write_bytes(content)
    return path

"""Samples files in EvalPlus's format -> samples, with every line that cannot be used named."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ..core.errors import MissingFileError, UserError


@dataclass(frozen=True)
class Sample:
    """A whole program that should solve the task; `line` is where it stands in its file."""

    task_id: str
    code: str
    line: int


@dataclass(frozen=True)
class Samples:
    """`problems` are sentences, each naming a line; `missing` the tasks that no sample solves."""

    samples: list[Sample]
    problems: tuple[str, ...]
    missing: tuple[str, ...]


def read_samples(path: str | PathLike, prompts: Mapping[str, str]) -> Samples:
    """Read JSON lines with `task_id` and `solution` (a program) or `completion` (what follows the task's
    prompt); `prompts` is task_id -> prompt of the benchmark. Lines may be gzipped."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingFileError(f"samples={str(path)!r}: there is no such file.")
    samples, problems = [], []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        found = _sample(line, number, prompts)
        (samples if isinstance(found, Sample) else problems).append(found)
    if not samples:
        why = "; ".join(problems) or "it has no lines"
        raise UserError(f"{path} has no sample of the benchmark's tasks: {why}.")
    solved = {sample.task_id for sample in samples}
    return Samples(samples, tuple(problems), tuple(name for name in prompts if name not in solved))


def writable(text: str | None) -> str | None:
    """`text` with halves of characters spelt out: tables and files refuse them, models and attackers write
    them."""
    return text and text.encode(errors="backslashreplace").decode()


def _lines(path: Path) -> list[bytes]:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise UserError(f"{path} cannot be unpacked ({error}); it may be cut short.") from error
    return data.splitlines()


def _sample(line: bytes, number: int, prompts: Mapping[str, str]) -> Sample | str:
    """The sample in `line`, or a sentence that says why there is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"line {number} is not JSON ({error}); it may be cut short"
    if not isinstance(found, dict):
        return f"line {number} is no JSON object"
    task_id = found.get("task_id")
    if not isinstance(task_id, str) or task_id not in prompts:
        return f"line {number}: task_id={task_id!r} is not a task of the benchmark"
    for field, before in (("solution", ""), ("completion", prompts[task_id])):
        if isinstance(found.get(field), str):
            return Sample(task_id, before + found[field], number)
    return f"line {number} ({task_id}) has neither a solution nor a completion that is text"

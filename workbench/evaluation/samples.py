"""Read samples files in EvalPlus's format; every line that cannot be used is named."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ..core.errors import MissingFileError, UserError


@dataclass(frozen=True)
class Sample:
    """A complete program for a task; `line` is its line number in the samples file, 0 if it comes from
    none."""

    task_id: str
    code: str
    line: int


@dataclass(frozen=True)
class Samples:
    """`problems` has one sentence per unusable line, `missing` the ids of tasks without a sample."""

    samples: list[Sample]
    problems: tuple[str, ...]
    missing: tuple[str, ...]


def read_samples(path: str | PathLike, prompts: Mapping[str, str]) -> Samples:
    """Read a samples file: JSON lines with `task_id` and `solution` or `completion`, gzipped or not.

    A `solution` is a complete program, a `completion` continues the task's prompt. `prompts` maps task_id to
    prompt. Raises MissingFileError if there is no such file, UserError if it has no usable line or is cut
    short.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingFileError(f"samples={str(path)!r}: there is no such file.")
    samples, problems = [], []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        parsed = _parse(line, number, prompts)
        (samples if isinstance(parsed, Sample) else problems).append(parsed)
    if not samples:
        why = "; ".join(problems) or "it has no lines"
        raise UserError(f"{path} has no sample of the benchmark's tasks: {why}.")
    solved = {sample.task_id for sample in samples}
    return Samples(samples, tuple(problems), tuple(name for name in prompts if name not in solved))


def writable(text: str | None) -> str | None:
    """`text` with lone surrogates escaped: models and attackers write them, tables and files reject them."""
    return text and text.encode(errors="backslashreplace").decode()


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file, gzipped or not. Raises UserError if it cannot be unpacked."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise UserError(f"{path} cannot be unpacked ({error}); it may be cut short.") from error
    return content.splitlines()


def _parse(line: bytes, number: int, prompts: Mapping[str, str]) -> Sample | str:
    """The sample on this line, or a sentence on why there is none."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"line {number} is not JSON ({error}); it may be cut short"
    if not isinstance(fields, dict):
        return f"line {number} is no JSON object"
    task_id = fields.get("task_id")
    if not isinstance(task_id, str) or task_id not in prompts:
        return f"line {number}: task_id={task_id!r} is not a task of the benchmark"
    for name, prefix in (("solution", ""), ("completion", prompts[task_id])):
        if isinstance(fields.get(name), str):
            return Sample(task_id, prefix + fields[name], number)
    return f"line {number} ({task_id}) has neither a solution nor a completion that is text"

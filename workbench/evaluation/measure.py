"""`evaluate`: a model, or samples that a model wrote elsewhere, on a benchmark."""

import json
import os
import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import datasets

from ..core import tables
from ..core.errors import UserError, positive
from ..lm import prompts
from . import sandbox
from .generation.answers import Writer
from .generation.asking import Asking, asking
from .generation.decoding import Decoding
from .generation.extraction import extract_code
from .heldout import heldout_loss
from .judging.assertions import judge, program_table
from .report import EvalReport
from .samples import Sample, read_samples, writable
from .tasks import NO_NAMES, TITLES, Programs, Suites, code_tasks, instruction_tasks


class TunedRun(Protocol):
    """What is asked of a run: `training.Run` has it, a later stage."""

    status: str
    output_dir: Path
    model_dir: Path
    settings: object  # with `template`


@dataclass(frozen=True)
class _Exam:
    """A model and how it is asked; `trained_with` is the template of the run that made it."""

    writer: Writer
    how: Decoding
    template: str
    trained_with: str | None
    n_samples: int
    limit: int | None


def evaluate(
    model: TunedRun | str | os.PathLike | None = None,
    benchmark: str | datasets.Dataset = "bundled",
    *,
    samples: str | os.PathLike | None = None,
    sanitize: bool | None = None,
    limit: int | None = None,
    template: str = "auto",
    n_samples: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    max_new_tokens: int = 512,
    batch_size: int = 48,
    dtype: str = "auto",
    device: str = "auto",
    backend: str = "transformers",
    cache: bool = True,
    samples_to: str | os.PathLike | None = None,
) -> EvalReport:
    """Ask `model` (a finished run, a name or a folder) every task and run what it writes; or, with `samples`
    (a file in EvalPlus's format) and no model, judge what was written before.

    `benchmark` is "humaneval", "humaneval+", "mbpp" or "mbpp+" (judged by EvalPlus's rules: both suites
    always, the name says which one `pass_at_1` means); a JSONL file of tasks with `task_id`, `prompt` and
    `test`, a program that runs behind the answer; "bundled"; or a table with `id`, `instruction`, `response`
    (the reference, for the held-out loss) and `check`: assertions that run after the completion. A run's own
    training rows are not taken out: pass a table that it has not seen. `limit` takes the first tasks only.

    `template` "raw" lets the model go on with the task's code, as base models can; others ask for it in
    words. "auto" is what a run was trained with, else the model's chat template; a model without one goes on
    with code, and gets DeepSeek's template for instructions. Decoding is greedy, or with `temperature` drawn
    from the top_p nucleus, `n_samples` a task. What was written is stored at once and not written again,
    unless `cache=False`; `samples_to` also writes it as a samples file.

    `sanitize` passes code through EvalPlus's sanitizer first: by default a model's answers to HumanEval and
    MBPP, as EvalPlus does, and no samples from elsewhere. All code runs in a sandbox (`evaluation.sandbox`
    says what it covers).
    """
    if (model is None) == (samples is None):
        raise UserError("evaluate takes a model or samples=FILE, one of the two.")
    if samples is not None:
        return _evaluate_samples(Path(samples).expanduser(), code_tasks(benchmark), bool(sanitize))
    how = Decoding(max_new_tokens, temperature, top_p, seed)
    positive("n_samples", n_samples)
    if limit is not None:
        positive("limit", limit)
    name, trained_with = _model_of(model)
    writer = Writer(name, dtype, device, batch_size, backend, cache)
    sandbox.level()  # before the time that generating takes
    samples_to = _writable_place(samples_to)
    exam = _Exam(writer, how, template, trained_with, n_samples, limit)
    if not isinstance(benchmark, str) or not (benchmark in TITLES or Path(benchmark).expanduser().is_file()):
        return _ask_instructions(exam, *instruction_tasks(benchmark), sanitize, samples_to)
    return _ask_code(exam, code_tasks(benchmark), sanitize, samples_to)


def _model_of(model: TunedRun | str | os.PathLike) -> tuple[str, str | None]:
    """Its name or folder, and the template of the run that it comes from."""
    if isinstance(model, str | os.PathLike):
        return str(model), None
    if model.status not in ("done", "stopped"):
        raise UserError(f"the run in {model.output_dir} is {model.status}; wait() for it before evaluating.")
    return str(model.model_dir), model.settings.template


def _writable_place(samples_to: str | os.PathLike | None) -> Path | None:
    if samples_to is None:
        return None
    if not (path := Path(samples_to).expanduser()).resolve().parent.is_dir():
        raise UserError(f"samples_to={str(samples_to)!r}: its folder does not exist; make it first.")
    return path


def _ask_code(
    exam: _Exam, tasks: Suites | Programs, sanitize: bool | None, samples_to: Path | None
) -> EvalReport:
    tasks.check(bool(sanitize))
    if not all(prompt.strip() for prompt in tasks.prompts.values()):
        raise UserError(f"benchmark={tasks.name!r} has tasks without a prompt, which a model needs.")
    asked = list(tasks.prompts)[: exam.limit]
    tokenizer = exam.writer.tokenizer
    way = asking(tokenizer, exam.template, exam.trained_with, tasks.stops)
    how = replace(exam.how, stop=way.stop)
    texts = [tasks.prompts[task_id] for task_id in asked]
    answers = exam.writer.answers(way.prompts(tokenizer, texts), how, exam.n_samples)
    samples = [
        Sample(task_id, way.program(text, answer), line=0)
        for task_id, text, some in zip(asked, texts, answers, strict=True)
        for answer in some
    ]
    if samples_to:
        _write_samples(samples, samples_to)
    judged = tasks.judge(samples, isinstance(tasks, Suites) if sanitize is None else sanitize)
    versions = judged.pop("versions", {}) | _decoded(exam, way) | _versions()
    return EvalReport(
        exam.writer.name,
        missing=tuple(name for name in tasks.prompts if name not in set(asked)),
        versions=versions,
        **judged,
    )


def _ask_instructions(
    exam: _Exam, tasks: datasets.Dataset, name: str, sanitize: bool | None, samples_to: Path | None
) -> EvalReport:
    if sanitize:
        raise UserError(NO_NAMES)
    tables.require(tasks, ["id", "instruction", "response", "check"], "assertions for each row")
    tasks = tasks.select(range(min(exam.limit or len(tasks), len(tasks))))
    if not len(tasks):
        raise UserError("benchmark has no rows; give a table with at least one task.")
    writer, tokenizer = exam.writer, exam.writer.tokenizer
    template = exam.template
    if template == "auto":
        template = exam.trained_with or "auto"
    template = prompts.resolve_template(tokenizer, template)
    loss = heldout_loss(writer.model, tokenizer, tasks, template=template)
    asked = prompts.generation_prompts(tokenizer, tasks["instruction"][:], template)
    answers = writer.answers(asked, exam.how, exam.n_samples)
    texts = [text for some in answers for text in some]
    ids, checks = (
        [value for value in tasks[column][:] for _ in range(exam.n_samples)] for column in ("id", "check")
    )
    if samples_to:
        _write_samples(
            [Sample(*pair, 0) for pair in zip(ids, map(extract_code, texts), strict=True)], samples_to
        )
    table = program_table(ids, judge(texts, checks), texts)
    versions = _decoded(exam, Asking(template, ())) | _versions()
    return EvalReport(writer.name, name, table, loss, versions=versions)


def _evaluate_samples(path: Path, tasks: Suites | Programs, sanitize: bool) -> EvalReport:
    tasks.check(sanitize)
    found = read_samples(path, tasks.prompts)
    judged = tasks.judge(found.samples, sanitize)
    versions = judged.pop("versions", {}) | _versions()
    return EvalReport(path.name, missing=found.missing, problems=found.problems, versions=versions, **judged)


def _write_samples(samples: list[Sample], path: Path) -> None:
    """A samples file in EvalPlus's format: a JSON line of task_id and solution for each."""
    lines = [
        json.dumps({"task_id": sample.task_id, "solution": writable(sample.code)}) + "\n"
        for sample in samples
    ]
    path.write_text("".join(lines), encoding="utf-8")


def _decoded(exam: _Exam, way: Asking) -> dict[str, str]:
    """How the answers came about, for the report."""
    how, writer = exam.how, exam.writer
    drawn = f"temperature {how.temperature:g}, top_p {how.top_p:g}, seed {how.seed}"
    return {
        "template": way.template,
        "decoding": f"{drawn if how.temperature else 'greedy'}, {how.max_new_tokens} new tokens at most",
        "backend": f"{writer.backend} {version(writer.backend)}",
    }


def _versions() -> dict[str, str]:
    try:
        own = version("codetune-workbench")
    except ModuleNotFoundError:  # a checkout on the path
        own = "unknown"
    return {"workbench": own, "python": platform.python_version(), "sandbox": str(sandbox.level())}

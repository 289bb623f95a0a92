"""`wb.evaluate`: judge a model, or samples from elsewhere, on a benchmark."""

import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import datasets
import pandas as pd

from ..core import memory, tables
from ..core.errors import UserError, one_of, positive
from ..lm import prompts
from ..lm.devices import dtype_name
from . import broken_twins, sandbox
from .generation.answers import AnswerGenerator
from .generation.decoding import Decoding
from .generation.prompt_format import PromptFormat
from .heldout import heldout_loss, likelihood_table
from .judging.assertions import judge, outcome_table
from .judging.extraction import extract_code
from .reports.report import EvalReport
from .samples import Sample, read_samples, writable
from .tasks import NO_SANITIZE, TITLES, EvalPlusTasks, ProgramTasks, code_tasks, instruction_tasks

MEASURES = ("loss", "preference", "pass")
_MAX_LENGTH = 2048  # tokens of a reference or a twin with its prompt


class TunedRun(Protocol):
    """What `evaluate` needs of a run; `training.Run`, of a later stage, has it."""

    status: str
    output_dir: Path
    model_dir: Path
    settings: object  # with `template`


@dataclass(frozen=True)
class _Setup:
    """A model and how it generates; `trained_with` is the template of its training run, if there was one."""

    generator: AnswerGenerator
    decoding: Decoding
    template: str
    trained_with: str | None
    n_samples: int
    limit: int | None
    samples_to: Path | None
    measures: tuple[str, ...] | None


@memory.released_from_gpu()
def evaluate(
    model: TunedRun | str | os.PathLike | None = None,
    benchmark: str | datasets.Dataset = "bundled",
    *,
    measures: Sequence[str] | None = None,
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
    """Evaluate a model on a benchmark: generate answers, run them in a sandbox, and judge them.

    All code runs in a sandbox that needs Linux (`evaluation.level`; `evaluation/sandbox/run.py` says what it
    covers). The paper's setting (arXiv 2504.12687) is greedy decoding with `max_new_tokens=1024` on
    HumanEval(+) and MBPP(+). One run on a few tasks does not prove that one training is better than another:
    that takes several seeds, a random selection of equal size beside each, and `EvalReport.compare`.

    Args:
        model: a finished run, a model's name or a folder; None if `samples` is given.
        benchmark: the tasks, one of three kinds.
            "humaneval", "humaneval+", "mbpp" or "mbpp+": judged on both suites by EvalPlus's rules, which
            needs the extra `[eval]`; the name says which suite `pass_at_1` reports. On two cores, judging all
            542 tasks takes half a minute, and a minute and a half the first time
            (`tests/benchmarks/judging.py`).

            A JSONL file with `task_id`, `prompt` and `test`, a program that runs after the answer.

            "bundled", or a table with `id`, `instruction`, `response` (the reference, for the held-out loss)
            and `check` (assertions that run after the answer). Rows that a run was trained on are not
            excluded: pass a table of held-out rows.
        measures: what to measure, any of "loss", "preference" and "pass". By default "pass" and, for a table
            of instructions, the overall loss; with names, the report has every measure by task too.

            "loss": nats per token of the reference responses.

            "preference": `wb.twins` makes programs that differ from each reference by one token and fail its
            tests. `EvalReport.preference` is the share of them that the model finds less likely than the
            reference, `EvalReport.margin` by how many nats on average. Forward passes only, so that models
            too small to pass any task can be told apart. It does not measure whether the model can write a
            program: it is shown two of them. A sharper model has larger margins even if it is no better, so
            read margin, preference and loss together; and a model that has seen the reference in training
            prefers it for that reason.

            "pass": pass@1 of generated answers, as below.
        samples: a samples file in EvalPlus's format, judged in place of a model: JSON lines with `task_id`
            and `solution` or `completion`, gzipped or not. `EvalReport.problems` names unusable lines.
        sanitize: whether code passes through EvalPlus's sanitizer first. By default a model's answers to
            HumanEval and MBPP do, as in EvalPlus, and `samples` do not.
        limit: use the first `limit` tasks only.
        template: the prompt. "raw" gives the model the task's code to continue, which suits base models;
            other templates ask for the code in words. "auto" is the template of the training run, else the
            model's chat template. Without either, a model continues code, and gets DeepSeek's template for
            instructions.
        n_samples: samples per task, for pass@k. More than one needs a `temperature`.
        temperature, top_p, seed: temperature 0 is greedy decoding; above 0, tokens are sampled from the most
            likely ones that together have probability `top_p`.
        max_new_tokens: maximum length of an answer, in tokens.
        batch_size: prompts per batch.
        dtype, device: as in `wb.score`.
        backend: "transformers", or "vllm", which needs that package and a GPU.
        cache: whether to store each answer as soon as it is complete, and to reuse stored answers. If the
            evaluation is interrupted, call it again to resume.
        samples_to: a file to which the samples are written too, in EvalPlus's format.

    Raises:
        UserError: a parameter, file or table is not usable, the run has not finished, or this machine cannot
            confine code (SandboxError).
    """
    if (model is None) == (samples is None):
        raise UserError("evaluate takes a model or samples=FILE, one of the two.")
    measures = _measures(measures, samples)
    if samples is not None:
        return _evaluate_samples(Path(samples).expanduser(), code_tasks(benchmark), bool(sanitize))
    decoding = Decoding(max_new_tokens, temperature, top_p, seed)
    dtype_name(dtype, device)  # raises before anything is downloaded
    positive("n_samples", n_samples)
    if limit is not None:
        positive("limit", limit)
    name, trained_with = _model_of(model)
    generator = AnswerGenerator(name, dtype, device, batch_size, backend, cache)
    if "pass" in (measures or MEASURES):
        sandbox.level()  # raises before the time-consuming generation
    path = _samples_path(samples_to)
    setup = _Setup(generator, decoding, template, trained_with, n_samples, limit, path, measures)
    if not isinstance(benchmark, str) or not (benchmark in TITLES or Path(benchmark).expanduser().is_file()):
        return _evaluate_instructions(setup, *instruction_tasks(benchmark), sanitize)
    return _evaluate_code(setup, code_tasks(benchmark), sanitize)


def _measures(measures: Sequence[str] | None, samples: str | os.PathLike | None) -> tuple[str, ...] | None:
    if measures is None:
        return None
    measures = (measures,) if isinstance(measures, str) else tuple(measures)
    if not measures:
        raise UserError(f"measures=() is empty; name one of {', '.join(MEASURES)}.")
    for name in measures:
        one_of("measures", name, MEASURES)
    if samples is not None and measures != ("pass",):
        raise UserError(f"measures={measures!r}: a samples file has no likelihoods; it takes 'pass' alone.")
    return measures


def _model_of(model: TunedRun | str | os.PathLike) -> tuple[str, str | None]:
    """The model's name or folder, and the template of the run that it comes from."""
    if isinstance(model, str | os.PathLike):
        return str(model), None
    if model.status not in ("done", "stopped"):
        raise UserError(f"the run in {model.output_dir} is {model.status}; wait() for it before evaluating.")
    return str(model.model_dir), model.settings.template


def _samples_path(samples_to: str | os.PathLike | None) -> Path | None:
    if samples_to is None:
        return None
    if not (path := Path(samples_to).expanduser()).resolve().parent.is_dir():
        raise UserError(f"samples_to={str(samples_to)!r}: its folder does not exist; make it first.")
    return path


def _evaluate_code(setup: _Setup, tasks: EvalPlusTasks | ProgramTasks, sanitize: bool | None) -> EvalReport:
    """Evaluate on tasks whose prompts are code."""
    measures = setup.measures or ("pass",)
    if "pass" in measures:
        tasks.check(bool(sanitize))
    if not all(prompt.strip() for prompt in tasks.prompts.values()):
        raise UserError(f"benchmark={tasks.name!r} has tasks without a prompt, which a model needs.")
    names = list(tasks.prompts)[: setup.limit]
    tokenizer = setup.generator.tokenizer
    prompt_format = PromptFormat.resolve(tokenizer, setup.template, setup.trained_with, tasks.stops)
    decoding = replace(setup.decoding, stop=prompt_format.stop)
    fields = tasks.fields | {"tasks": _without_verdicts(names)}
    if "pass" in measures:
        fields = _judged_answers(setup, tasks, names, prompt_format, decoding, sanitize)
    if {"loss", "preference"} & set(measures):
        references, twins = _code_samples(setup, tasks, names, prompt_format)
        _add_likelihoods(setup, fields, references, twins)
    versions = fields.pop("versions", {}) | _generation_versions(setup, prompt_format.template) | _versions()
    missing = tuple(name for name in tasks.prompts if name not in set(names))
    return EvalReport(setup.generator.name, missing=missing, versions=versions, **fields)


def _judged_answers(setup, tasks, names, prompt_format, decoding, sanitize) -> dict:
    """Generate and judge answers; returns fields of an `EvalReport`."""
    tokenizer = setup.generator.tokenizer
    texts = [tasks.prompts[name] for name in names]
    answers = setup.generator.answers(prompt_format.prompts(tokenizer, texts), decoding, setup.n_samples)
    samples = [
        Sample(name, prompt_format.program(text, answer), line=0)
        for name, text, own in zip(names, texts, answers, strict=True)
        for answer in own
    ]
    if setup.samples_to:
        _write_samples(samples, setup.samples_to)
    return tasks.judge(samples, isinstance(tasks, EvalPlusTasks) if sanitize is None else sanitize)


def _without_verdicts(ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"task_id": ids, "base": None, "plus": None})


def _code_samples(setup: _Setup, tasks: EvalPlusTasks | ProgramTasks, names: list[str], form: PromptFormat):
    """The references by task id, and (task id, twin) pairs, as samples."""
    if not isinstance(tasks, EvalPlusTasks):
        raise UserError(
            f"benchmark={tasks.name!r} has no reference solutions, which loss and preference need; take "
            "measures=('pass',), or a table with instruction, response and check."
        )
    tokenizer = setup.generator.tokenizer
    solutions = [tasks.benchmark.tasks[name]["canonical_solution"] for name in names]
    samples = form.samples(tokenizer, [tasks.prompts[name] for name in names], solutions)
    references, twins = dict(zip(names, samples, strict=True)), []
    if "preference" in setup.measures:
        table = broken_twins.twins(tasks.name, limit=setup.limit)
        own = form.samples(tokenizer, table["instruction"][:], table["twin"][:])
        twins = list(zip(table["id"][:], own, strict=True))
    return references, twins


def _instruction_samples(setup: _Setup, tasks: datasets.Dataset, template: str):
    """The references by task id, and (task id, twin) pairs, as samples."""
    ids = list(map(str, tasks["id"][:]))
    if repeated := [task_id for task_id, n in Counter(ids).items() if n > 1]:
        raise UserError(f"id={min(repeated)!r} names several rows; measures by task need ids of their own.")
    questions = dict(zip(ids, prompts.questions(tasks, template), strict=True))

    def samples(own_ids: list[str], programs: list[str]) -> list[prompts.Sample]:
        own = [questions[task_id] for task_id in own_ids]
        return prompts.training_samples(setup.generator.tokenizer, own, programs, template, _MAX_LENGTH)

    references, twins = dict(zip(ids, samples(ids, tasks["response"][:]), strict=True)), []
    if "preference" in setup.measures:
        table = broken_twins.twins(tasks)
        owners = table["id"][:]
        twins = list(zip(owners, samples(owners, table["twin"][:]), strict=True))
    return references, twins


def _add_likelihoods(setup: _Setup, fields: dict, references: dict, twins: list) -> None:
    """Add measures to the `tasks` of the report's `fields`, and its `loss_per_token`."""
    if "preference" in setup.measures and not twins:
        raise UserError("measures: no reference solution has a broken twin; wb.twins gives the reasons.")
    table = likelihood_table(setup.generator.model, references, twins)
    if "loss" in setup.measures:
        scored = table[table["n_tokens"] > 0]
        fields["loss_per_token"] = float(
            (scored["loss"] * scored["n_tokens"]).sum() / scored["n_tokens"].sum()
        )
    else:
        table = table.drop(columns=["loss", "n_tokens"])
    ids = fields["tasks"]["task_id"].astype(str)
    fields["tasks"] = fields["tasks"].join(table.reindex(ids).reset_index(drop=True))


def _evaluate_instructions(
    setup: _Setup, tasks: datasets.Dataset, name: str, sanitize: bool | None
) -> EvalReport:
    """Evaluate on a table of instructions with checks; also measures the held-out loss."""
    if sanitize:
        raise UserError(NO_SANITIZE)
    measures = setup.measures or ("pass",)
    checked = ["check"] if "pass" in measures else []
    tables.require(tasks, ["id", "instruction", "response", *checked], "assertions for each row")
    tasks = tasks.select(range(min(setup.limit or len(tasks), len(tasks))))
    if not len(tasks):
        raise UserError("benchmark has no rows; give a table with at least one task.")
    generator, tokenizer = setup.generator, setup.generator.tokenizer
    template = setup.template
    if template == "auto":
        template = setup.trained_with or "auto"
    template = prompts.resolve_template(tokenizer, template)
    fields = {"tasks": _without_verdicts(tasks["id"][:])}
    if setup.measures is None:
        fields["loss_per_token"] = heldout_loss(generator.model, tokenizer, tasks, template=template)
    if "pass" in measures:
        fields["tasks"] = _judged_instructions(setup, tasks, template)
    if {"loss", "preference"} & set(measures):
        _add_likelihoods(setup, fields, *_instruction_samples(setup, tasks, template))
    versions = _generation_versions(setup, template) | _versions()
    return EvalReport(generator.name, name, versions=versions, **fields)


def _judged_instructions(setup: _Setup, tasks: datasets.Dataset, template: str) -> pd.DataFrame:
    """Generate and judge answers to instructions; returns the `tasks` of an `EvalReport`."""
    generator = setup.generator
    token_ids = prompts.generation_prompts(generator.tokenizer, prompts.questions(tasks, template), template)
    answers = generator.answers(token_ids, setup.decoding, setup.n_samples)
    texts = [text for own in answers for text in own]
    ids, checks = (
        [value for value in tasks[column][:] for _ in range(setup.n_samples)] for column in ("id", "check")
    )
    if setup.samples_to:
        codes = map(extract_code, texts)
        _write_samples([Sample(*pair, 0) for pair in zip(ids, codes, strict=True)], setup.samples_to)
    return outcome_table(ids, judge(texts, checks), texts)


def _evaluate_samples(path: Path, tasks: EvalPlusTasks | ProgramTasks, sanitize: bool) -> EvalReport:
    tasks.check(sanitize)
    file = read_samples(path, tasks.prompts)
    fields = tasks.judge(file.samples, sanitize)
    versions = fields.pop("versions", {}) | _versions()
    return EvalReport(path.name, missing=file.missing, problems=file.problems, versions=versions, **fields)


def _write_samples(samples: list[Sample], path: Path) -> None:
    """Write a samples file in EvalPlus's format."""
    lines = [
        json.dumps({"task_id": sample.task_id, "solution": writable(sample.code)}) + "\n"
        for sample in samples
    ]
    path.write_text("".join(lines), encoding="utf-8")


def _generation_versions(setup: _Setup, template: str) -> dict[str, str]:
    """How the answers were generated, for the report."""
    decoding, backend = setup.decoding, setup.generator.backend
    sampling = f"temperature {decoding.temperature:g}, top_p {decoding.top_p:g}, seed {decoding.seed}"
    if "pass" not in (setup.measures or MEASURES):
        return {"template": template}
    return {
        "template": template,
        "decoding": f"{sampling if decoding.temperature else 'greedy'}, "
        f"{decoding.max_new_tokens} new tokens at most",
        "backend": f"{backend} {version(backend)}",
    }


def _versions() -> dict[str, str]:
    try:
        own = version("codetune-workbench")
    except ModuleNotFoundError:  # a source checkout that is not installed
        own = "unknown"
    try:
        level = str(sandbox.level())
    except sandbox.SandboxError:  # loss needs none
        level = "none"
    return {"workbench": own, "python": platform.python_version(), "sandbox": level}

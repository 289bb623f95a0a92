"""`wb.evaluate`: judge a model, or samples from elsewhere, on a benchmark.

`code` measures a model on tasks whose prompts are code, `instructions` on a table of instructions; `setup`
holds what both need.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import datasets

from ...core import memory
from ...core.errors import UserError, one_of, positive
from ...lm.devices import dtype_name
from .. import sandbox
from ..broken_twins import PER_TASK
from ..generation.answers import AnswerGenerator
from ..generation.decoding import Decoding
from ..reports.report import EvalReport
from ..samples import read_samples
from ..tasks import TITLES, EvalPlusTasks, ProgramTasks, code_tasks, instruction_tasks
from .code import evaluate_code
from .instructions import evaluate_instructions
from .setup import MEASURES, Setup, versions_here


class TunedRun(Protocol):
    """What `evaluate` needs of a run; `training.Run`, of a later stage, has it."""

    status: str
    output_dir: Path
    model_dir: Path
    settings: object  # with `template`


@memory.released_from_gpu()
def evaluate(
    model: TunedRun | str | os.PathLike | None = None,
    benchmark: str | datasets.Dataset = "bundled",
    *,
    measures: Sequence[str] | None = None,
    n_twins: int = PER_TASK,
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
        n_twins: the largest number of twins of a task, for preference and margin.
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
        UserError: a parameter, file or table is not usable, the run has not finished, or only "pass" is
            measured and this machine cannot confine code (SandboxError). With other measures, the report has
            those, and says in `problems` why no answer was judged.
    """
    if (model is None) == (samples is None):
        raise UserError("evaluate takes a model or samples=FILE, one of the two.")
    measures = _measures(measures, samples)
    if samples is not None:
        return evaluate_samples(Path(samples).expanduser(), code_tasks(benchmark), bool(sanitize))
    decoding = Decoding(max_new_tokens, temperature, top_p, seed)
    dtype_name(dtype, device)  # raises before anything is downloaded
    positive("n_samples", n_samples)
    positive("n_twins", n_twins)
    if limit is not None:
        positive("limit", limit)
    name, trained_with = _model_of(model)
    generator = AnswerGenerator(name, dtype, device, batch_size, backend, cache)
    has_instructions = not isinstance(benchmark, str) or not (
        benchmark in TITLES or Path(benchmark).expanduser().is_file()
    )
    unconfined = None
    if "pass" in (measures or MEASURES):
        unconfined = sandbox.why_unconfined()  # before the time-consuming generation
        if unconfined and (measures == ("pass",) or (measures is None and not has_instructions)):
            raise sandbox.SandboxError(unconfined)  # nothing else is measured
    path = _samples_path(samples_to)
    measured = measures, n_twins, unconfined
    setup = Setup(generator, decoding, template, trained_with, n_samples, limit, path, *measured)
    if has_instructions:
        return evaluate_instructions(setup, *instruction_tasks(benchmark), sanitize)
    return evaluate_code(setup, code_tasks(benchmark), sanitize)


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


def evaluate_samples(path: Path, tasks: EvalPlusTasks | ProgramTasks, sanitize: bool) -> EvalReport:
    tasks.check(sanitize)
    file = read_samples(path, tasks.prompts)
    fields = tasks.judge(file.samples, sanitize)
    versions = fields.pop("versions", {}) | versions_here()
    return EvalReport(path.name, missing=file.missing, problems=file.problems, versions=versions, **fields)

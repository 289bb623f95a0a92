"""Measures on tasks whose prompts are code: HumanEval, MBPP, and files of tasks."""

from dataclasses import replace

from ...core.errors import UserError
from .. import broken_twins
from ..generation.prompt_format import PromptFormat
from ..reports.report import EvalReport
from ..samples import Sample
from ..tasks import EvalPlusTasks, ProgramTasks
from .setup import (
    Setup,
    add_likelihoods,
    generation_versions,
    refusal_problems,
    versions_here,
    without_verdicts,
    write_samples,
)


def evaluate_code(setup: Setup, tasks: EvalPlusTasks | ProgramTasks, sanitize: bool | None) -> EvalReport:
    """Evaluate on tasks whose prompts are code."""
    measures = setup.measures or ("pass",)
    if setup.has_pass:
        tasks.check(bool(sanitize))
    if not all(prompt.strip() for prompt in tasks.prompts.values()):
        raise UserError(f"benchmark={tasks.name!r} has tasks without a prompt, which a model needs.")
    names = list(tasks.prompts)[: setup.limit]
    tokenizer = setup.generator.tokenizer
    prompt_format = PromptFormat.resolve(tokenizer, setup.template, setup.trained_with, tasks.stops)
    decoding = replace(setup.decoding, stop=prompt_format.stop)
    fields = tasks.fields | {"tasks": without_verdicts(names)}
    prompts = prompt_format.prompts(tokenizer, [tasks.prompts[name] for name in names])
    problems = setup.problems + refusal_problems(names, prompts)
    if setup.has_pass:
        answers = setup.generator.answers(prompts, decoding, setup.n_samples)
        fields = _judged_answers(
            setup, tasks, dict(zip(names, answers, strict=True)), prompt_format, sanitize
        )
    if {"loss", "preference"} & set(measures):
        references, pairs = _code_samples(setup, tasks, names, prompt_format)
        add_likelihoods(setup, fields, references, pairs)
    versions = (
        fields.pop("versions", {}) | generation_versions(setup, prompt_format.template) | versions_here()
    )
    missing = tuple(name for name in tasks.prompts if name not in set(names))
    return EvalReport(setup.generator.name, missing=missing, problems=problems, versions=versions, **fields)


def _judged_answers(
    setup: Setup,
    tasks: EvalPlusTasks | ProgramTasks,
    answers: dict[str, list[str | None]],
    prompt_format: PromptFormat,
    sanitize: bool | None,
) -> dict:
    """Judge the answers to each task; returns fields of an `EvalReport`. No answer is an empty program."""
    samples = [
        Sample(name, prompt_format.program(tasks.prompts[name], answer or ""), line=0)
        for name, own in answers.items()
        for answer in own
    ]
    if setup.samples_to:
        write_samples(samples, setup.samples_to)
    return tasks.judge(samples, isinstance(tasks, EvalPlusTasks) if sanitize is None else sanitize)


def _code_samples(setup: Setup, tasks: EvalPlusTasks | ProgramTasks, names: list[str], form: PromptFormat):
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
        table = broken_twins.twins(tasks.name, per_task=setup.n_twins, limit=setup.limit)
        own = form.samples(tokenizer, table["instruction"][:], table["twin"][:])
        twins = list(zip(table["id"][:], own, strict=True))
    return references, twins

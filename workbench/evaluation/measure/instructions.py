"""Measures on a table of instructions with reference responses and checks."""

from collections import Counter

import datasets
import pandas as pd

from ...core import tables
from ...core.errors import UserError
from ...lm import prompts
from ...lm.chat import TemplateRefusal
from ..broken_twins import twin_samples
from ..heldout import loss_and_rows_without
from ..judging.assertions import judge, outcome_table
from ..judging.extraction import extract_code
from ..reports.report import EvalReport
from ..samples import Sample
from ..sandbox.run import Outcome
from ..tasks import NO_SANITIZE
from .setup import (
    Setup,
    add_likelihoods,
    generation_versions,
    refusal_problems,
    versions_here,
    without_verdicts,
    write_samples,
)


def evaluate_instructions(
    setup: Setup, tasks: datasets.Dataset, name: str, sanitize: bool | None
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
    fields = {"tasks": without_verdicts(tasks["id"][:])}
    token_ids = prompts.generation_prompts(tokenizer, prompts.questions(tasks, template), template)
    problems = setup.problems + refusal_problems(tasks["id"][:], token_ids)
    if setup.measures is None:
        loss, without = loss_and_rows_without(generator.model, tokenizer, tasks, template)
        fields["loss_per_token"] = loss
        problems += tuple(f"{tasks[row]['id']}: left out of the loss, {why}" for row, why in without.items())
    if setup.has_pass:
        fields["tasks"] = _judged_instructions(setup, tasks, token_ids)
    if {"loss", "preference"} & set(measures):
        add_likelihoods(setup, fields, *_instruction_samples(setup, tasks, template))
    versions = generation_versions(setup, template) | versions_here()
    return EvalReport(generator.name, name, problems=problems, versions=versions, **fields)


def _judged_instructions(
    setup: Setup, tasks: datasets.Dataset, token_ids: list[list[int] | TemplateRefusal]
) -> pd.DataFrame:
    """Generate and judge answers to instructions; returns the `tasks` of an `EvalReport`.

    The verdict on a task that the chat template refuses is "error".
    """
    answers = setup.generator.answers(token_ids, setup.decoding, setup.n_samples)
    texts = [text or "" for own in answers for text in own]
    ids, checks = (
        [value for value in tasks[column][:] for _ in range(setup.n_samples)] for column in ("id", "check")
    )
    if setup.samples_to:
        codes = map(extract_code, texts)
        write_samples([Sample(*pair, 0) for pair in zip(ids, codes, strict=True)], setup.samples_to)
    own_prompts = [prompt for prompt in token_ids for _ in range(setup.n_samples)]
    outcomes = [
        Outcome("error", prompt.reason) if isinstance(prompt, TemplateRefusal) else outcome
        for prompt, outcome in zip(own_prompts, judge(texts, checks), strict=True)
    ]
    return outcome_table(ids, outcomes, texts)


def _instruction_samples(setup: Setup, tasks: datasets.Dataset, template: str):
    """The references by task id, and (task id, twin) pairs, as samples."""
    ids = list(map(str, tasks["id"][:]))
    if repeated := [task_id for task_id, n in Counter(ids).items() if n > 1]:
        raise UserError(f"id={min(repeated)!r} names several rows; measures by task need ids of their own.")
    per_task = setup.n_twins if "preference" in setup.measures else None
    return twin_samples(setup.generator.tokenizer, tasks, ids, template, per_task)

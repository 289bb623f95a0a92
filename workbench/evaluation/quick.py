"""Preference and pass@1 on a few fixed tasks with a loaded model, e.g. one in training."""

from collections.abc import Sequence

import datasets

from ..core.errors import UserError
from ..lm import prompts
from . import sandbox
from .broken_twins import PER_TASK, twin_samples
from .generation.answers import generate, generate_answers
from .generation.decoding import Decoding, generate_texts
from .generation.prompt_format import PromptFormat
from .heldout import MAX_LENGTH, likelihood_table
from .judging.assertions import judge
from .reports.report import EvalReport
from .samples import Sample
from .tasks import TITLES, code_tasks

HELD_OUT = "held-out"
BENCHMARKS = (HELD_OUT, *TITLES)


def check(benchmark: str, held_out: datasets.Dataset | None) -> None:
    """Raise UserError now, before a training starts, if this machine cannot judge answers to `benchmark`."""
    sandbox.level()
    if benchmark != HELD_OUT:
        code_tasks(benchmark).check(sanitize=True)
    elif held_out is None or "check" not in held_out.column_names:
        raise UserError(
            "eval_tasks needs held-out rows with a column 'check', assertions that run after the answer; "
            f"give heldout=TABLE, or eval_benchmark={' or '.join(map(repr, TITLES))}."
        )


def pass_at_1(
    model,
    tokenizer,
    benchmark: str,
    held_out: datasets.Dataset | None,
    n: int,
    *,
    template: str,
    max_new_tokens: int,
) -> float:
    """Share (0 to 1) of `n` tasks that one greedy answer solves.

    The tasks are evenly spread over those of `benchmark`, which is one of `BENCHMARKS`; "held-out" are the
    rows of `held_out`. `template` is the one that the model is trained with; a task that it refuses counts as
    not solved.
    """
    if benchmark == HELD_OUT:
        rows = held_out.select(spread(range(len(held_out)), n))
        template = prompts.resolve_template(tokenizer, template)
        questions = prompts.questions(rows, template)
        texts = generate(model, tokenizer, questions, template=template, max_new_tokens=max_new_tokens)
        outcomes = judge([text or "" for text in texts], rows["check"][:])
        return sum(outcome.verdict == sandbox.PASS for outcome in outcomes) / len(outcomes)
    tasks = code_tasks(benchmark)
    names = spread(list(tasks.prompts), n)
    texts = [tasks.prompts[name] for name in names]
    prompt_format = PromptFormat.resolve(tokenizer, template, template, tasks.stops)
    answers = generate_answers(
        lambda *request: generate_texts(model, tokenizer, *request),
        prompt_format.prompts(tokenizer, texts),
        Decoding(max_new_tokens, stop=prompt_format.stop),
    )
    samples = [
        Sample(name, prompt_format.program(text, answer or ""), line=0)
        for name, text, (answer,) in zip(names, texts, answers, strict=True)
    ]
    return EvalReport("", **tasks.judge(samples, sanitize=True)).pass_at_1


def check_twins(held_out: datasets.Dataset | None) -> None:
    """Raise UserError if no twins can be made of the reference responses in `held_out`."""
    if held_out is None or "check" not in held_out.column_names:
        raise UserError(
            "eval_twins needs held-out rows with a column 'check', assertions that the twins fail; give "
            "heldout=TABLE."
        )


def preference(model, tokenizer, held_out: datasets.Dataset, n: int, *, template: str) -> dict[str, float]:
    """`preference` (0 to 1) and `margin` (nats), both means over the twins of `n` of the rows of `held_out`.

    The rows are evenly spread. Raises UserError if none of them has a twin.
    """
    rows = held_out.select(spread(range(len(held_out)), n))
    rows = rows.remove_columns([name for name in rows.column_names if name == "id"])
    ids = [str(row) for row in range(len(rows))]
    template = prompts.resolve_template(tokenizer, template)
    references, pairs = twin_samples(tokenizer, rows.add_column("id", ids), ids, template, PER_TASK)
    if not pairs:
        raise UserError("eval_twins: no held-out row has a twin; wb.twins gives the reasons.")
    table = likelihood_table(model, references, pairs)
    if "n_twins" not in table:
        raise UserError(f"eval_twins: all twins differ behind the first {MAX_LENGTH:,} tokens.")
    weights = table["n_twins"] / table["n_twins"].sum()
    return {name: float((table[name] * weights).sum()) for name in ("preference", "margin")}


def spread(items: Sequence, n: int) -> list:
    """`n` of `items`, evenly spread, or all of them if there are fewer."""
    n = min(n, len(items))
    return [items[i * len(items) // n] for i in range(n)]

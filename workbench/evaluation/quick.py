"""pass@1 on a fixed few tasks, for a model that is at hand, such as one in training."""

from collections.abc import Sequence

import datasets

from ..core.errors import UserError
from . import sandbox
from .generation import decoding
from .generation.answers import answers, generate
from .generation.asking import asking
from .generation.decoding import Decoding
from .judging.assertions import judge
from .report import EvalReport
from .samples import Sample
from .tasks import TITLES, code_tasks

HELD_OUT = "held-out"
BENCHMARKS = (HELD_OUT, *TITLES)


def check(benchmark: str, held_out: datasets.Dataset | None) -> None:
    """Raise if answers cannot be judged here: better now than in the middle of a training."""
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
    """Share (0 to 1) of `n` tasks, evenly spread over those of `benchmark`, that one greedy answer solves."""
    if benchmark == HELD_OUT:
        rows = held_out.select(spread(range(len(held_out)), n))
        found = generate(
            model, tokenizer, rows["instruction"][:], template=template, max_new_tokens=max_new_tokens
        )
        outcomes = judge(found, rows["check"][:])
        return sum(outcome.verdict == sandbox.PASS for outcome in outcomes) / len(outcomes)
    tasks = code_tasks(benchmark)
    names = spread(list(tasks.prompts), n)
    texts = [tasks.prompts[name] for name in names]
    way = asking(tokenizer, template, template, tasks.stops)
    asked = way.prompts(tokenizer, texts)
    how = Decoding(max_new_tokens, stop=way.stop)
    found = answers(lambda *what: decoding.write(model, tokenizer, *what), asked, how)
    samples = [
        Sample(name, way.program(text, answer), line=0)
        for name, text, (answer,) in zip(names, texts, found, strict=True)
    ]
    return EvalReport("", **tasks.judge(samples, sanitize=True)).pass_at_1


def spread(items: Sequence, n: int) -> list:
    """`n` of `items`, or all, evenly spread."""
    n = min(n, len(items))
    return [items[i * len(items) // n] for i in range(n)]

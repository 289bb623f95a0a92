"""How good a model is: pass@1 on tasks with checks, and held-out loss."""

import os
from concurrent.futures import ThreadPoolExecutor

import datasets
import pandas as pd

from .. import data, models, tables
from ..errors import UserError, one_of, positive
from ..training import Run
from .generate import extract_code, generate
from .heldout import heldout_loss
from .report import EvalReport
from .sandbox import Outcome, run_program

__all__ = ["EvalReport", "Outcome", "evaluate", "extract_code", "generate", "heldout_loss", "run_program"]

BENCHMARKS = ("bundled",)


def evaluate(
    model: Run | str,
    benchmark: str | datasets.Dataset = "bundled",
    *,
    limit: int | None = None,
    template: str = "auto",
    max_new_tokens: int = 512,
    batch_size: int = 48,
    dtype: str = "auto",
    device: str = "auto",
) -> EvalReport:
    """Ask `model` (a finished run, a name or a folder) every task, run what it writes, and take the held-out
    loss.

    `benchmark` is "bundled", or a table with `id`, `instruction`, `response` (the reference) and `check`:
    assertions that run after the completion. A run's own training rows are not taken out: pass a table that
    it has not seen.
    """
    positive("max_new_tokens", max_new_tokens)
    positive("batch_size", batch_size)
    if isinstance(model, Run):
        if model.status not in ("done", "stopped"):
            raise UserError(
                f"the run in {model.output_dir} is {model.status}; wait() for it before evaluating."
            )
        model = str(model.model_dir)
    if isinstance(benchmark, str):
        one_of("benchmark", benchmark, BENCHMARKS)
        tasks, name = data.load(benchmark), benchmark
    else:
        tasks, name = benchmark, "own tasks"
    tables.require(tasks, ["id", "instruction", "response", "check"], "assertions for each row")
    if limit is not None:
        positive("limit", limit)
        tasks = tasks.select(range(min(limit, len(tasks))))
    if not len(tasks):
        raise UserError("benchmark has no rows; give a table with at least one task.")
    loaded, tokenizer = models.load_model(model, dtype, device)
    loss = heldout_loss(loaded, tokenizer, tasks, template=template)
    completions = generate(
        loaded,
        tokenizer,
        tasks["instruction"][:],
        template=template,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )
    outcomes = judge(completions, tasks["check"][:])
    table = pd.DataFrame(
        {
            "task_id": tasks["id"][:],
            "base": [outcome.verdict for outcome in outcomes],
            "plus": None,
            "detail": [outcome.detail for outcome in outcomes],
            "completion": completions,
        }
    )
    return EvalReport(model, name, table, loss)


def judge(completions: list[str], checks: list[str], workers: int | None = None) -> list[Outcome]:
    """Run each completion's code followed by its checks; as many at once as there are cores."""
    programs = [f"{extract_code(text)}\n\n{check}\n" for text, check in zip(completions, checks, strict=True)]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return list(pool.map(run_program, programs))

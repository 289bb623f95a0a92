"""How good the model is while it trains: held-out loss, and pass@1 on a few tasks."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import torch

from ..core import memory, progress, tables
from ..core.errors import UserError
from ..evaluation import quick
from ..evaluation.heldout import heldout_loss
from .settings import TrainingSettings


def check(settings: TrainingSettings, held_out: datasets.Dataset | None) -> None:
    """Raise if what `settings` want measured cannot be."""
    if settings.eval_steps is None:
        if held_out is not None:
            raise UserError("heldout is measured every eval_steps optimizer steps; give eval_steps too.")
        return
    if held_out is None and not settings.eval_tasks:
        raise UserError(
            f"eval_steps={settings.eval_steps} needs something to measure: heldout=TABLE, or eval_tasks."
        )
    if held_out is not None:
        tables.require(held_out, ["instruction", "response"], "wb.load")
    if settings.eval_tasks:
        quick.check(settings.eval_benchmark, held_out)


def write(held_out: datasets.Dataset, path: Path) -> None:
    """Keep what is measured on beside the run, which may go on in another process."""
    columns = [name for name in ("instruction", "response", "check") if name in held_out.column_names]
    tables.write_parquet(held_out.select_columns(columns), path)


class Quality:
    """Measures one model in training; `file` holds the held-out rows, if there are any."""

    def __init__(self, settings: TrainingSettings, file: Path):
        self.settings = settings
        self.held_out = datasets.Dataset(pq.read_table(file)) if file.exists() else None

    def is_due(self, step: int, last: int) -> bool:
        """After every `eval_steps` optimizer steps, and after the last."""
        every = self.settings.eval_steps
        return every is not None and (step % every == 0 or step == last)

    def measure(self, model, tokenizer, attention: str) -> dict:
        """Entries for the record of a step. `attention` is the implementation that the model came with.

        What goes wrong here is told in "eval_error" and ends no training.
        """
        started, found = time.perf_counter(), {}
        with aside(model, attention):
            try:
                self._measure(model, tokenizer, found)
            except Exception as error:
                found["eval_error"] = f"{type(error).__name__}: {error}"
                memory.release()
        return found | {"eval_seconds": round(time.perf_counter() - started, 3)}

    def _measure(self, model, tokenizer, found: dict) -> None:
        settings = self.settings
        if self.held_out is not None:
            found["heldout_loss"] = heldout_loss(
                model,
                tokenizer,
                self.held_out,
                template=settings.template,
                max_length=settings.max_length,
            )
        if settings.eval_tasks:
            found["pass_at_1"] = quick.pass_at_1(
                model,
                tokenizer,
                settings.eval_benchmark,
                self.held_out,
                settings.eval_tasks,
                template=settings.template,
                max_new_tokens=settings.eval_max_new_tokens,
            )


@contextmanager
def aside(model, attention: str) -> Iterator[None]:
    """Within this context `model` is as it was loaded, without what training does to it; afterwards it, and
    every source of random numbers, is as before."""
    implementation = model.config._attn_implementation
    was_training = model.training
    drawn = random.getstate(), np.random.get_state()
    model.eval()
    model.set_attn_implementation(attention)
    try:
        gpus = [model.device] if model.device.type == "cuda" else []
        with progress.silent(), torch.random.fork_rng(gpus):
            yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])
        model.set_attn_implementation(implementation)
        model.train(was_training)

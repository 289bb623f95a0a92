"""Evaluate the model during training: held-out loss, preference over twins, and pass@1 on a few tasks."""

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

_COLUMNS = ("instruction", "response", "dialogue", "check")  # that an evaluation reads


def check(settings: TrainingSettings, held_out: datasets.Dataset | None) -> None:
    """Raise UserError if `settings` request an evaluation that is not possible."""
    if settings.eval_steps is None:
        if held_out is not None:
            raise UserError("heldout is evaluated every eval_steps optimizer steps; give eval_steps too.")
        return
    if settings.eval_twins:
        quick.check_twins(held_out)
    if held_out is None and not settings.eval_tasks:
        raise UserError(
            f"eval_steps={settings.eval_steps} needs something to evaluate: heldout=TABLE or eval_tasks."
        )
    if held_out is not None:
        tables.require(held_out, ["instruction", "response"], "wb.load")
    if settings.eval_tasks:
        quick.check(settings.eval_benchmark, held_out)


def write(held_out: datasets.Dataset, path: Path) -> None:
    """Write the held-out rows to the run's folder: the run may continue in another process."""
    columns = [name for name in _COLUMNS if name in held_out.column_names]
    tables.write_parquet(held_out.select_columns(columns), path)


def same_rows(held_out: datasets.Dataset | None, path: Path) -> bool:
    """Whether `path` has the rows of `held_out`; None stands for no file."""
    if held_out is None or not path.exists():
        return held_out is None and not path.exists()
    return tables.rows_sha256(datasets.Dataset(pq.read_table(path))) == tables.rows_sha256(held_out)


class Quality:
    """Evaluates a model during training. The Parquet file `file` has the held-out rows; it may be missing."""

    def __init__(self, settings: TrainingSettings, file: Path):
        self.settings = settings
        self.held_out = datasets.Dataset(pq.read_table(file)) if file.exists() else None

    def is_due(self, step: int, last: int) -> bool:
        """Whether to evaluate after optimizer step `step`: every `eval_steps` steps, and after the last."""
        every = self.settings.eval_steps
        return every is not None and (step % every == 0 or step == last)

    def measure(self, model, tokenizer, attention: str) -> dict:
        """Return the scores for the history record of a step, and `eval_seconds`.

            heldout_loss   nats per predicted token
            preference     share of the twins less likely than their reference, 0 to 1
            margin         mean nll of the twins minus that of their reference, nats
            pass_at_1      share of the tasks solved, 0 to 1
            eval_error     the message of an error, which does not end the training

        `attention` is the attention implementation that the model was loaded with.
        """
        started, scores, errors = time.perf_counter(), {}, []
        measures = [self._heldout_loss] if self.held_out is not None else []
        measures += [self._preference] if self.settings.eval_twins else []
        measures += [self._pass_at_1] if self.settings.eval_tasks else []
        with evaluation_mode(model, attention):
            for measure in measures:
                try:
                    scores |= measure(model, tokenizer)
                except Exception as error:
                    errors.append(f"{type(error).__name__}: {error}")
                    memory.release()
        if errors:
            scores["eval_error"] = "; ".join(errors)
        return scores | {"eval_seconds": round(time.perf_counter() - started, 3)}

    def _heldout_loss(self, model, tokenizer) -> dict:
        settings = self.settings
        loss = heldout_loss(
            model, tokenizer, self.held_out, template=settings.template, max_length=settings.max_length
        )
        return {"heldout_loss": loss}

    def _preference(self, model, tokenizer) -> dict:
        settings = self.settings
        return quick.preference(
            model, tokenizer, self.held_out, settings.eval_twins, template=settings.template
        )

    def _pass_at_1(self, model, tokenizer) -> dict:
        settings = self.settings
        share = quick.pass_at_1(
            model,
            tokenizer,
            settings.eval_benchmark,
            self.held_out,
            settings.eval_tasks,
            template=settings.template,
            max_new_tokens=settings.eval_max_new_tokens,
        )
        return {"pass_at_1": share}


@contextmanager
def evaluation_mode(model, attention: str) -> Iterator[None]:
    """Put `model` into evaluation mode, with the attention it was loaded with, within this context.

    Afterwards the model and all random number generators are in the same state as before. No progress is
    shown.
    """
    implementation = model.config._attn_implementation
    was_training = model.training
    python_state, numpy_state = random.getstate(), np.random.get_state()
    model.eval()
    model.set_attn_implementation(attention)
    try:
        gpus = [model.device] if model.device.type == "cuda" else []
        with progress.silent(), torch.random.fork_rng(gpus):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        model.set_attn_implementation(implementation)
        model.train(was_training)

"""Turn rows into samples, and samples into the batches of all epochs, in the order of training."""

import warnings
from pathlib import Path

import datasets
import numpy as np
from torch.utils.data import Dataset

from .. import packing
from ..core import tables
from ..core.errors import UserError
from ..lm import models, prompts
from ..lm.batching import collate, collate_leaking
from ..lm.prompts import Sample
from ..packing import overlong
from . import processes
from .settings import TrainingSettings


def samples_of(
    ds: datasets.Dataset, model: str | Path, settings: TrainingSettings
) -> tuple[list[Sample], dict]:
    """Tokenize the rows of `ds` and return the samples to train on and their part of the run's summary.

    A warning names the first row that the chat template refuses. Raises UserError if a column is missing, or
    as `usable` does.
    """
    whole = tokenized(ds, model, settings)
    samples, summary = usable(whole, settings)
    if n_refused := summary["samples_refused"]:
        row = next(row for row, sample in enumerate(whole) if sample.refusal)
        warnings.warn(
            f"{n_refused} of {len(whole)} rows are left out of the training, e.g. row {row}: "
            f"{whole[row].refusal}.",
            stacklevel=2,
        )
    return samples, summary | {"rows_sha256": tables.rows_sha256(ds)}


def tokenized(ds: datasets.Dataset, model: str | Path, settings: TrainingSettings) -> list[Sample]:
    """Tokenize the rows of `ds` at their full length, one sample each. Raises UserError if a column is
    missing."""
    tables.require(ds, ["instruction", "response"], "wb.load")
    tokenizer = models.load_tokenizer(model)
    template = prompts.resolve_template(tokenizer, settings.template)
    questions = prompts.questions(ds, template)
    _check_answers(ds, template, settings)
    return prompts.training_samples(
        tokenizer, questions, ds["response"][:], template, train_on=settings.train_on
    )


def usable(whole: list[Sample], settings: TrainingSettings) -> tuple[list[Sample], dict]:
    """Return the samples to train on, cut to `max_length`, and their part of the run's summary.

    Raises UserError if no sample has a response token within `settings.max_length`, or if the chat template
    refuses all rows.
    """
    accepted = [sample for sample in whole if sample.refusal is None]
    if whole and not accepted:
        raise UserError(f"none of the {len(whole)} rows can be trained on: {whole[0].refusal}.")
    samples, pieces = fitted(accepted, settings)
    with_targets = [sample for sample in samples if sample.n_targets]
    if not with_targets:
        raise UserError(
            f"none of the {len(accepted)} rows has a response token within max_length={settings.max_length}."
        )
    return with_targets, {
        "samples": len(with_targets),
        "samples_without_target": len(samples) - len(with_targets),
        "samples_refused": len(whole) - len(accepted),
        "overlong": str(pieces),
        "tokens": settings.epochs * sum(len(sample.input_ids) for sample in with_targets),
    }


def _check_answers(ds: datasets.Dataset, template: str, settings: TrainingSettings) -> None:
    """Raise UserError if every answer of a dialogue is to be trained on under a template without turns."""
    if settings.train_on == "last" or template == "chat" or "dialogue" not in ds.column_names:
        return
    if any(turn["role"] == "assistant" for turns in ds["dialogue"][:] for turn in turns or ()):
        raise UserError(
            f"train_on='all' needs the turns of a dialogue, which template={template!r} writes as one "
            f"question; use template='chat' with a model that has a chat template, or train_on='last'."
        )


def fitted(samples: list[Sample], settings: TrainingSettings) -> tuple[list[Sample], packing.Pieces]:
    """Return the samples cut to `settings.max_length` tokens, and the `Pieces` that describe the cuts.

    Each piece of a split sample begins with the last token of the piece before, which is not predicted again.
    So each response token is predicted exactly once, from the tokens before it in its own piece.
    """
    lengths = np.array([len(sample.input_ids) for sample in samples], np.int64)
    pieces = overlong.cut(lengths, settings.max_length, settings.overlong)
    cut = []
    for i, start, size in zip(
        *(part.tolist() for part in (pieces.sample, pieces.start, pieces.size)), strict=True
    ):
        cut.append(samples[i].part(start, start + size))
    return cut, pieces


class Schedule(Dataset):
    """The batches of all epochs; item t is the batch of the t-th forward pass, as rows of samples.

    Each epoch is shuffled with its own seed. All epochs form one sequence, so a resumed run continues with
    exactly the batches that an uninterrupted run would train on. `settings.max_steps` ends it early.
    """

    def __init__(self, samples: list[Sample], settings: TrainingSettings):
        lengths = [len(sample.input_ids) for sample in samples]
        self.samples = samples
        self.plans = [
            packing.pack(
                lengths,
                settings.max_length,
                settings.strategy,
                batch_size=settings.batch_size,
                seed=settings.seed + epoch,
            )
            for epoch in range(settings.epochs)
        ]
        batches = [batch for plan in self.plans for batch in plan.batches]
        passes = settings.max_steps and settings.max_steps * settings.accumulation * processes.count()
        self.batches = batches[:passes]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, t: int) -> list[list[Sample]]:
        return [[self.samples[i] for i in row] for row in self.batches[t]]

    def tokens(self, first: int, stop: int) -> int:
        """Return the tokens, without padding, of the forward passes in [first, stop)."""
        return sum(
            len(self.samples[i].input_ids) for batch in self.batches[first:stop] for row in batch for i in row
        )

    @property
    def padding_rate(self) -> float:
        """Padding / computed tokens over all epochs, whole ones also with `max_steps`."""
        return 1 - sum(plan.n_tokens for plan in self.plans) / sum(plan.n_computed for plan in self.plans)


class Rounds(Dataset):
    """`schedule` in rounds of `world` batches, for a training on `world` processes. Process r runs items r,
    r + world, ...

    Losses and weights are those of one process: the Trainer divides the summed loss by the token count of all
    processes' batches of a step, so it does not matter which process runs which batch. Processes wait for
    each other in every pass, so the last round is filled up with batches that predict no token.
    """

    def __init__(self, schedule: Schedule, world: int):
        self.schedule = schedule
        self.length = -(-len(schedule) // world) * world

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, t: int) -> list[list[Sample]]:
        if t < len(self.schedule):
            return self.schedule[t]
        ids = self.schedule[0][0][0].input_ids[:2]
        return [[Sample(ids, first_target=len(ids))]]


class Collator:
    """Turn one scheduled item into keyword arguments of the model.

    If `isolated`, samples of a row do not attend to each other; otherwise they do, as with the paper's
    released collator.
    """

    def __init__(self, pad_id: int, settings: TrainingSettings, isolated: bool):
        self.pad_id = pad_id
        self.isolated = isolated
        self.width = settings.max_length if packing.PACKERS[settings.strategy].to_max else None

    def __call__(self, items: list[list[list[Sample]]]) -> dict:
        (rows,) = items  # the batch size of the loader is 1, and each item is a batch
        if self.isolated:
            return collate(rows, self.pad_id, self.width)
        return collate_leaking(rows, self.pad_id, self.width)

"""Every batch of every epoch, in the order of training."""

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
from .settings import TrainingSettings


def samples_of(
    ds: datasets.Dataset, model: str | Path, settings: TrainingSettings
) -> tuple[list[Sample], dict]:
    """What a run on `ds` trains on, and what its summary says of that."""
    tables.require(ds, ["instruction", "response"], "wb.load")
    tokenizer = models.load_tokenizer(model)
    whole = prompts.training_samples(tokenizer, ds["instruction"][:], ds["response"][:], settings.template)
    samples, pieces = fitted(whole, settings)
    with_targets = [sample for sample in samples if sample.n_targets]
    if not with_targets:
        raise UserError(
            f"none of the {len(ds)} rows has a response token within max_length={settings.max_length}."
        )
    return with_targets, {
        "samples": len(with_targets),
        "samples_without_target": len(samples) - len(with_targets),
        "overlong": str(pieces),
        "tokens": settings.epochs * sum(len(sample.input_ids) for sample in with_targets),
        "rows_sha256": tables.rows_sha256(ds),
    }


def fitted(samples: list[Sample], settings: TrainingSettings) -> tuple[list[Sample], packing.Pieces]:
    """`samples` within `settings.max_length` tokens, and what was done to those above it.

    A piece of a split sample begins with the last token of the piece before it, which is not predicted again:
    over all pieces each token of the response is predicted once, from what its own piece holds before it.
    """
    lengths = np.array([len(sample.input_ids) for sample in samples], np.int64)
    pieces = overlong.cut(lengths, settings.max_length, settings.overlong)
    found = []
    for i, start, size in zip(
        *(part.tolist() for part in (pieces.sample, pieces.start, pieces.size)), strict=True
    ):
        first = min(max(1, samples[i].first_target - start), size)
        found.append(Sample(samples[i].input_ids[start : start + size], first))
    return found, pieces


class Schedule(Dataset):
    """Item t is the t-th forward pass: rows of samples.

    Each epoch is planned with a seed of its own and all of them are laid end to end, so that the Trainer sees
    one long epoch and a resumed run finds the very same batches.
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
        self.batches = [batch for plan in self.plans for batch in plan.batches]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, t: int) -> list[list[Sample]]:
        return [[self.samples[i] for i in row] for row in self.batches[t]]

    def tokens(self, first: int, stop: int) -> int:
        """Tokens, without padding, of the forward passes in [first, stop)."""
        return sum(
            len(self.samples[i].input_ids) for batch in self.batches[first:stop] for row in batch for i in row
        )

    @property
    def padding_rate(self) -> float:
        """Padding / computed tokens over all epochs."""
        return 1 - sum(plan.n_tokens for plan in self.plans) / sum(plan.n_computed for plan in self.plans)


class Rounds(Dataset):
    """`schedule` in rounds of `world` batches, one for each process: process r runs items r, r + world, ...

    Processes wait for each other in every pass, so the last round is filled up with idle batches, which
    predict nothing and so count for nothing.
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
    """One scheduled item -> keyword arguments of the model."""

    def __init__(self, pad_id: int, settings: TrainingSettings, isolated: bool):
        self.pad_id = pad_id
        self.isolated = isolated
        self.width = settings.max_length if packing.PACKERS[settings.strategy].to_max else None

    def __call__(self, items: list[list[list[Sample]]]) -> dict:
        (rows,) = items  # the loader's batch size is 1: an item is a batch already
        if self.isolated:
            return collate(rows, self.pad_id, self.width)
        return collate_leaking(rows, self.pad_id, self.width)

"""Samples -> tensors in which samples share rows and never see each other.

What isolates them: position ids that restart at 0 with every sample, boundaries (`segments`) that attention
keeps to (see `forward`), and no target on the first token of a sample, which its predecessor would predict.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .prompts import IGNORE_INDEX, Sample

# For each row the lengths of its samples, in order; what is left of a row is padding. Plain integers, because
# attention cuts by them in every layer.
Segments = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Batch:
    """Tensors of shape [rows, length] and where each sample lies in them.

    `labels[r, t]` is the token itself where position t is predicted, else the ignore index.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    labels: torch.Tensor
    segments: Segments

    def to(self, device) -> "Batch":
        return Batch(
            self.input_ids.to(device), self.position_ids.to(device), self.labels.to(device), self.segments
        )

    def as_inputs(self) -> dict:
        """Keyword arguments for a model under `forward.isolated`."""
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "labels": self.labels,
            "segments": self.segments,
        }


def collate(rows: Sequence[Sequence[Sample]], pad_id: int = 0, length: int | None = None) -> Batch:
    """Lay each list of samples into one row, and pad all rows to `length`, or to the longest of them."""
    length = length or max(sum(len(sample.input_ids) for sample in row) for row in rows)
    input_ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    position_ids = torch.zeros((len(rows), length), dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORE_INDEX, dtype=torch.long)
    for r, row in enumerate(rows):
        start = 0
        for sample in row:
            stop = start + len(sample.input_ids)
            input_ids[r, start:stop] = torch.tensor(sample.input_ids)
            position_ids[r, start:stop] = torch.arange(stop - start)
            labels[r, start:stop] = torch.tensor(sample.labels)
            start = stop
    segments = tuple(tuple(len(sample.input_ids) for sample in row) for row in rows)
    return Batch(input_ids, position_ids, labels, segments)


def collate_leaking(rows: Sequence[Sequence[Sample]], pad_id: int = 0, length: int | None = None) -> dict:
    """Inputs as the paper's released collator lays them: positions run on through a row, and every sample
    attends to those before it. With one sample a row this is ordinary padding."""
    batch = collate(rows, pad_id, length)
    filled = torch.zeros_like(batch.input_ids)
    for row, lengths in zip(filled, batch.segments, strict=True):
        row[: sum(lengths)] = 1
    return {"input_ids": batch.input_ids, "attention_mask": filled, "labels": batch.labels}


def flat_batches(samples: Sequence[Sequence[Sample]], token_budget: int):
    """Lists of positions in `samples` (groups of samples kept together) whose tokens fit `token_budget`.

    Longest first, so that a budget too large for the memory shows at once and not after an hour. A group
    over the budget gets a batch of its own. Each batch is meant for one row: nothing is padded.
    """
    sizes = [sum(len(sample.input_ids) for sample in group) for group in samples]
    batch, used = [], 0
    for i in sorted(range(len(samples)), key=lambda i: -sizes[i]):
        if batch and used + sizes[i] > token_budget:
            yield batch
            batch, used = [], 0
        batch.append(i)
        used += sizes[i]
    if batch:
        yield batch

"""Batches of samples that share rows and never see each other.

Three things isolate the samples of a row: position ids restart at 0 with every sample, attention keeps to the
sample boundaries in `Layout`, and the first token of a sample is never a target (the sample before it would
predict it).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypedDict

import torch

from .prompts import IGNORE_INDEX, Sample

_SIMILAR = 0.75  # a group holds samples down to this fraction of its longest sample's length

Span = tuple[int, int]  # (first token, number of tokens) of a sample, counted over the flattened batch


class Layout(TypedDict):
    """Where samples lie among the `rows * width` tokens of a flattened batch, for `attention`.

    Made once per batch, because every layer of the model reads it.
    """

    lengths: list[list[int]]
    """Tokens of each sample, by row and in order. The rest of a row is padding."""

    ends: torch.Tensor
    """int32 [samples + paddings + 1]: cumulative lengths, where a row's padding counts as one more sample."""

    longest: int
    """The largest difference between two consecutive `ends`."""

    groups: list[tuple[torch.Tensor, list[int]]]
    """Samples of similar length, longest first: token indices, int64 [n, longest in group], and their n
    lengths. Behind the end of a sample its last token is repeated."""

    slots: torch.Tensor
    """int64 [3, rows * width]. If the groups' token indices are laid end to end, row 0 says where the sample
    of each token starts, row 1 how long its group is, and row 2 which token of its sample it is."""


def collate(rows: Sequence[Sequence[Sample]], pad_id: int = 0, length: int | None = None) -> dict:
    """Concatenate each list of samples into a row and pad all rows to `length` (default: the longest row).

    Returns the keyword arguments of `PackedLM`: `input_ids`, `position_ids` and `labels`, each int64
    [rows, length], and `layout`, a `Layout`. `labels[r, t]` is the token at position t if that is a target,
    else the ignore index.
    """
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
    lengths = [[len(sample.input_ids) for sample in row] for row in rows]
    return {
        "input_ids": input_ids,
        "position_ids": position_ids,
        "labels": labels,
        "layout": make_layout(lengths, length),
    }


def collate_leaking(rows: Sequence[Sequence[Sample]], pad_id: int = 0, length: int | None = None) -> dict:
    """Collate as the paper's released code does: positions run on through a row, and every sample attends to
    those before it. With one sample per row this is ordinary padding.

    Returns `input_ids`, `attention_mask` and `labels`, each int64 [rows, length].
    """
    batch = collate(rows, pad_id, length)
    mask = torch.zeros_like(batch["input_ids"])
    for row, lengths in zip(mask, batch["layout"]["lengths"], strict=True):
        row[: sum(lengths)] = 1
    return {"input_ids": batch["input_ids"], "attention_mask": mask, "labels": batch["labels"]}


def make_layout(lengths: Sequence[Sequence[int]], width: int) -> Layout:
    """The `Layout` of rows of samples of these `lengths`, each row padded to `width` tokens."""
    spans, ends = [], [0]
    for r, row in enumerate(lengths):
        for n in row:
            spans.append((ends[-1], n))
            ends.append(ends[-1] + n)
        if ends[-1] < (r + 1) * width:
            ends.append((r + 1) * width)
    groups, slots, start = [], torch.zeros((3, len(lengths) * width), dtype=torch.long), 0
    for group in _similar(spans):
        longest = group[0][1]
        starts, sizes = torch.tensor(group).T
        steps = torch.arange(longest)
        tokens = starts[:, None] + torch.minimum(steps, sizes[:, None] - 1)
        inside = steps < sizes[:, None]
        firsts = start + longest * torch.arange(len(group))
        parts = (firsts[:, None].expand_as(tokens), torch.full_like(tokens, longest), steps.expand_as(tokens))
        slots[:, tokens[inside]] = torch.stack([part[inside] for part in parts])
        groups.append((tokens, sizes.tolist()))
        start += tokens.numel()
    return {
        "lengths": [list(row) for row in lengths],
        "ends": torch.tensor(ends, dtype=torch.int32),
        "longest": max(stop - start for start, stop in pairwise(ends)),
        "groups": groups,
        "slots": slots,
    }


def _similar(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Groups of `spans` of similar length, longest first."""
    group: list[Span] = []
    for span in sorted(spans, key=lambda span: -span[1]):
        if group and span[1] < _SIMILAR * group[0][1]:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def flat_batches(groups: Sequence[Sequence[Sample]], token_budget: int) -> Iterator[list[int]]:
    """Indices of `groups` (samples that stay together), batch by batch, within `token_budget` tokens each.

    Longest first, so that a budget too large for the memory fails at once and not after an hour. A group over
    the budget gets its own batch. A batch is meant for one row, without padding.
    """
    sizes = [sum(len(sample.input_ids) for sample in group) for group in groups]
    batch, used = [], 0
    for i in sorted(range(len(groups)), key=lambda i: -sizes[i]):
        if batch and used + sizes[i] > token_budget:
            yield batch
            batch, used = [], 0
        batch.append(i)
        used += sizes[i]
    if batch:
        yield batch

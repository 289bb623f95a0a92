"""Batches of samples that share rows and never see each other.

Three things isolate the samples of a row: position ids restart at 0 with every sample, attention keeps to the
sample boundaries in `Layout`, and the first token of a sample is never a target (the sample before it would
predict it).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypedDict

import torch

from .prompts import IGNORE_INDEX, Sample

_SIMILAR = 0.75  # a group holds samples down to this fraction of its longest sample's length


class _Span(NamedTuple):
    """The n tokens of a sample in a flattened batch: `shared` from `origin` on, the rest from `start` on."""

    start: int
    n: int
    shared: int = 0
    origin: int = 0


class Layout(TypedDict):
    """Where samples lie among the `rows * width` tokens of a flattened batch, for `attention`.

    Made once per batch, because every layer of the model reads it.
    """

    lengths: list[list[int]]
    """Tokens of each sample, by row and in order. The rest of a row is padding."""

    ends: torch.Tensor | None
    """int32 [samples + paddings + 1]: cumulative lengths, where a row's padding counts as one more sample.
    None if samples share tokens."""

    longest: int
    """The largest difference between two consecutive `ends`, or the tokens of the longest sample."""

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


def collate_families(families: Sequence[Sequence[Sample]]) -> tuple[dict, list[list[torch.Tensor]]]:
    """Collate samples into one row in which the members of a family share the tokens that they begin with.

    A member's tokens are stored from the first one on that differs from the family's first member: a program
    and its variants, each with the prompt, take little more than the prompt and the program. For forward
    passes without gradients.

    Returns the arguments of `predicting_states` and, for each family and member, the positions of its targets
    in the row, int64 [n_targets].
    """
    ids, labels, steps, previous, spans, targets = [], [], [], [], [], []
    for family in families:
        origin, first = len(ids), family[0].input_ids
        targets.append([])
        for member in family:
            shared = _n_equal(first, member.input_ids) if targets[-1] else 0
            n, start = len(member.input_ids), len(ids)
            positions = [*range(origin, origin + shared), *range(start, start + n - shared)]
            ids += member.input_ids[shared:]
            labels += [IGNORE_INDEX] * (n - shared)
            steps += range(shared, n)
            previous += [positions[max(step - 1, 0)] for step in range(shared, n)]
            own = [at for at, label in zip(positions, member.labels, strict=True) if label != IGNORE_INDEX]
            for at in own:
                labels[at] = ids[at]
            targets[-1].append(torch.tensor(own, dtype=torch.long))
            spans.append(_Span(start, n, shared, origin))
    groups, slots = _grouped(spans, len(ids))
    lengths = [span.n for span in spans]
    batch = {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([steps]),
        "labels": torch.tensor([labels]),
        "previous": torch.tensor(previous),
        "layout": {
            "lengths": [lengths],
            "ends": None,
            "longest": max(lengths),
            "groups": groups,
            "slots": slots,
        },
    }
    return batch, targets


def family_size(family: Sequence[Sample]) -> int:
    """Tokens of a family in a row of `collate_families`."""
    first = family[0].input_ids
    return len(first) + sum(
        len(member.input_ids) - _n_equal(first, member.input_ids) for member in family[1:]
    )


def _n_equal(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of tokens with which both sequences begin."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def make_layout(lengths: Sequence[Sequence[int]], width: int) -> Layout:
    """The `Layout` of rows of samples of these `lengths`, each row padded to `width` tokens."""
    spans, ends = [], [0]
    for r, row in enumerate(lengths):
        for n in row:
            spans.append(_Span(ends[-1], n))
            ends.append(ends[-1] + n)
        if ends[-1] < (r + 1) * width:
            ends.append((r + 1) * width)
    groups, slots = _grouped(spans, len(lengths) * width)
    return {
        "lengths": [list(row) for row in lengths],
        "ends": torch.tensor(ends, dtype=torch.int32),
        "longest": max(stop - start for start, stop in pairwise(ends)),
        "groups": groups,
        "slots": slots,
    }


def _grouped(spans: Sequence[_Span], n_tokens: int) -> tuple[list, torch.Tensor]:
    """The `groups` and `slots` of a `Layout`. The slot of a shared token is that of its first sample."""
    groups, slots, first_cell = [], torch.zeros((3, n_tokens), dtype=torch.long), 0
    for group in _similar(spans):
        longest = group[0].n
        start, n, shared, origin = torch.tensor(group).T[..., None]
        steps = torch.arange(longest)
        last = torch.minimum(steps, n - 1)
        tokens = torch.where(last < shared, origin + last, start + last - shared)
        own = (steps >= shared) & (steps < n)
        cells = first_cell + longest * torch.arange(len(group))
        parts = (cells[:, None].expand_as(tokens), torch.full_like(tokens, longest), steps.expand_as(tokens))
        slots[:, tokens[own]] = torch.stack([part[own] for part in parts])
        groups.append((tokens, n.flatten().tolist()))
        first_cell += tokens.numel()
    return groups, slots


def _similar(spans: Sequence[_Span]) -> Iterator[list[_Span]]:
    """Groups of `spans` of similar length, longest first."""
    group: list[_Span] = []
    for span in sorted(spans, key=lambda span: -span.n):
        if group and span.n < _SIMILAR * group[0].n:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def flat_batches(sizes: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Indices of `sizes` (tokens of what stays together), batch by batch, within `token_budget` tokens each.

    Longest first, so that a budget too large for the memory fails at once and not after an hour. A size over
    the budget gets its own batch. A batch is meant for one row, without padding.
    """
    batch, used = [], 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        if batch and used + sizes[i] > token_budget:
            yield batch
            batch, used = [], 0
        batch.append(i)
        used += sizes[i]
    if batch:
        yield batch

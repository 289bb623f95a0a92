"""Causal attention that stays within each sample, for models that transformers runs.

Three kernels, one rule. With gradients: PyTorch's attention on each sample. Without them: samples of similar
length side by side, filled up to the longest of them, which needs no mask of its own, because a causal model
never looks to the right. On GPUs with flash attention: its kernel for sequences of unequal length.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from .batching import Segments

_NAME = "workbench_segments"
_SIDE_BY_SIDE = 0.75  # samples share a group down to this part of its longest one's length


@dataclass(frozen=True)
class Layout:
    """Where the samples of a batch lie among its tokens [rows * width], laid out once for all layers."""

    segments: Segments
    width: int
    device: torch.device
    _groups: dict = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """(start, length) of each sample, in order."""
        spans = []
        for row, lengths in enumerate(self.segments):
            start = row * self.width
            for length in lengths:
                spans.append((start, length))
                start += length
        return spans

    def groups(self, heads: int) -> tuple[list[tuple[torch.Tensor, list[int]]], torch.Tensor]:
        """Where to read and to write, among states of `heads` heads [tokens * heads, ...].

        For each group of samples the states [n, heads, longest] that it reads, and the samples' lengths; for
        each state of the batch the place of its result, were those of all groups laid end to end. What is
        read behind a sample's end is its last token again, and never written.
        """
        if heads not in self._groups:
            groups, back, done = [], torch.zeros(len(self.segments) * self.width, heads, dtype=torch.long), 0
            for spans in _alike(self.spans):
                longest = spans[0][1]
                starts, lengths = torch.tensor(spans).T
                within = torch.arange(longest)
                tokens = starts[:, None] + torch.minimum(within, lengths[:, None] - 1)
                read = tokens[:, None] * heads + torch.arange(heads)[:, None]
                places = done + torch.arange(read.numel()).view_as(read)
                used = within < lengths[:, None]
                back[tokens[used]] = places.transpose(1, 2)[used]
                done += read.numel()
                groups.append((read.to(self.device), lengths.tolist()))
            self._groups[heads] = groups, back.flatten().to(self.device)
        return self._groups[heads]

    @cached_property
    def boundaries(self) -> tuple[torch.Tensor, int]:
        """Cumulative lengths [samples + paddings + 1], int32, and the longest of them."""
        lengths = []
        for row in self.segments:
            padding = self.width - sum(row)
            lengths += [*row, padding] if padding else row
        ends = torch.tensor([0, *lengths]).cumsum(0).to(self.device, torch.int32)
        return ends, max(lengths)


def _alike(spans: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """`spans` in groups of similar length, longest first."""
    group: list[tuple[int, int]] = []
    for span in sorted(spans, key=lambda span: -span[1]):
        if group and span[1] < _SIDE_BY_SIDE * group[0][1]:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def _attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, segments=None, **kwargs):
    """query [rows, heads, width, d], key and value [rows, kv_heads, width, d] -> [rows, width, heads, d]."""
    if unsupported := [name for name in ("softcap", "s_aux") if kwargs.get(name) is not None]:
        raise NotImplementedError(f"attention with {unsupported[0]}")
    scale = scaling if scaling is not None else 1 / math.sqrt(query.shape[-1])
    window = kwargs.get("sliding_window")
    if torch.is_autocast_enabled(query.device.type):  # as PyTorch's own attention would; the others do not
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = (states.to(dtype) for states in (query, key, value))
    if torch.is_grad_enabled() and (dropout or not _has_varlen(query)):
        return _each(query, key, value, segments, scale, window, dropout), None
    rows, _, width, _ = query.shape
    flat = [states.transpose(1, 2).flatten(0, 1) for states in (query, key, value)]  # [tokens, heads, d]
    attend = _varlen if _has_varlen(query) else _grouped
    return attend(*flat, segments, scale, window).unflatten(0, (rows, width)), None


def _each(query, key, value, layout: Layout, scale, window, dropout) -> torch.Tensor:
    """Sample by sample; padding gets zeros."""
    kv_heads = key.shape[1]
    rows = []
    for r, lengths in enumerate(layout.segments):
        padding = layout.width - sum(lengths)
        # One split instead of a slice for each sample: the gradient of every slice is a tensor of full size.
        parts = [states[r].split([*lengths, padding], dim=1) for states in (query, key, value)]
        attended = []
        for q, k, v in list(zip(*parts, strict=True))[: len(lengths)]:
            # Query heads that share a key head, side by side: the key is seen, not copied, for each of them.
            q = q.unflatten(0, (kv_heads, -1))
            k, v = (states[:, None].expand(-1, q.shape[1], -1, -1) for states in (k, v))
            attended.append(_sdpa(q, k, v, scale, window, dropout).flatten(0, 1))
        attended.append(query.new_zeros(query.shape[1], padding, value.shape[3]))
        rows.append(torch.cat(attended, dim=1))
    return torch.stack(rows).transpose(1, 2)


def _grouped(query, key, value, layout: Layout, scale, window) -> torch.Tensor:
    """Samples of similar length together; [tokens, heads, d] in and out. Padding gets some token's result."""
    heads, size = key.shape[1:]
    # A row for each key head; the query heads that share it lie side by side.
    query, key, value = (states.reshape(len(states) * heads, -1) for states in (query, key, value))
    groups, back = layout.groups(heads)
    results = query.new_empty(sum(read.numel() for read, _ in groups), query.shape[1])
    start = 0
    for read, lengths in groups:
        stop = start + read.numel()
        q, k, v = (states.index_select(0, read.flatten()) for states in (query, key, value))
        shape = (len(read) * heads, -1, size)  # longest x shared queries, longest keys
        states = [part.view(shape) for part in (q, k, v, results[start:stop])]
        if q.is_cuda:
            _shared_sdpa(*states, scale, window)
        else:
            _blocked(*states, lengths, scale, window)
        start = stop
    return results.index_select(0, back).view(len(query) // heads, -1, size)


def _blocked(query, key, value, result, lengths: list[int], scale: float, window: int | None = None) -> None:
    """Causal attention as matrix products over blocks of queries, each with the keys that it may see.

    For a CPU, which has fast matrix products and no fast kernel of this kind (tests/benchmarks/scoring.py).
    key and value [n, longest, d]; query and result [n, longest x shared, d]: `shared` queries for each key.
    `lengths` of the samples, longest first; n is a multiple of their number. A block leaves out the samples
    that end before it.
    """
    length, shared = key.shape[1], query.shape[1] // key.shape[1]
    size = min(length, 64 if length <= 256 else 128)
    ahead = torch.full((size, size), -torch.inf, dtype=query.dtype, device=query.device).triu(1)
    ahead = ahead.repeat_interleave(shared, 0)
    for start in range(0, length, size):
        stop = min(start + size, length)
        live = len(query) // len(lengths) * sum(length > start for length in lengths)
        rows = (slice(live), slice(start * shared, stop * shared))
        first = max(0, start - window + 1) if window else 0
        seen = (slice(live), slice(first, stop))
        scores = torch.baddbmm(query.new_empty(()), query[rows], key[seen].mT, beta=0, alpha=scale)
        scores[..., start - first :] += ahead[: (stop - start) * shared, : stop - start]
        if window and stop > window:
            behind = torch.arange(first, stop) <= torch.arange(start, stop)[:, None] - window
            scores.masked_fill_(behind.repeat_interleave(shared, 0).to(scores.device), -torch.inf)
        torch.bmm(scores.softmax(-1), value[seen], out=result[rows])


def _shared_sdpa(query, key, value, result, scale: float, window: int | None) -> None:
    """The same by PyTorch's attention."""
    length = key.shape[1]
    query = query.unflatten(1, (length, -1)).transpose(1, 2)
    key, value = (states[:, None].expand_as(query) for states in (key, value))
    result.unflatten(1, (length, -1)).copy_(_sdpa(query, key, value, scale, window).transpose(1, 2))


def _sdpa(query, key, value, scale: float, window: int | None, dropout: float = 0.0) -> torch.Tensor:
    """PyTorch's causal attention, looking no further back than `window`."""
    length = query.shape[-2]
    if window and length > window:
        at = torch.arange(length, device=query.device)
        back = at[:, None] - at[None, :]
        seen = {"attn_mask": (back >= 0) & (back < window)}
    else:
        seen = {"is_causal": True}
    return F.scaled_dot_product_attention(query, key, value, **seen, scale=scale, dropout_p=dropout)


def _has_varlen(query: torch.Tensor) -> bool:
    """Whether PyTorch (2.10 or newer) has a flash kernel for sequences of unequal length here."""
    if not query.is_cuda or query.dtype == torch.float32 or query.shape[-1] > 256:
        return False
    if find_spec("torch.nn.attention.varlen") is None:
        return False
    return torch.cuda.get_device_capability(query.device) >= (8, 0)


def _varlen(query, key, value, layout: Layout, scale, window) -> torch.Tensor:
    """[tokens, heads, d] in and out; key and value may have fewer heads."""
    from torch.nn.attention.varlen import varlen_attn

    ends, longest = layout.boundaries
    seen = (window - 1 if window else -1, 0)
    return varlen_attn(
        query.contiguous(),
        key.contiguous(),
        value.contiguous(),
        ends,
        ends,
        longest,
        longest,
        scale=scale,
        window_size=seen,
        enable_gqa=query.shape[1] != key.shape[1],
    )


AttentionInterface.register(_NAME, _attention)


@contextmanager
def isolated(model):
    """Within this context `model` takes `segments` (a `Layout`) and keeps attention inside them."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield model
    finally:
        model.set_attn_implementation(before)

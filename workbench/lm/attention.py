"""Causal attention within each sample of a packed batch, registered with transformers.

Three kernels compute the same result:

- with gradients: PyTorch's attention on one sample at a time;
- without gradients: samples of similar length side by side, padded to the longest. They need no mask beyond
  the causal one, because a token never attends to what follows it;
- on GPUs that have it, with or without gradients: PyTorch's flash kernel for sequences of unequal length.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from .batching import Layout

_NAME = "workbench_packed"


@contextmanager
def packed_attention(model) -> Iterator[None]:
    """Within this context `model` needs a `layout` (from `collate`) and attends within its samples only.

    Uses transformers' own switch (`set_attn_implementation`) and switches back on exit. Raises
    NotImplementedError if the architecture does not support the switch.

    Call `backward` inside the context too: layers that gradient checkpointing recomputes must use the same
    attention.
    """
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        if not is_packed(model):
            raise NotImplementedError(f"{type(model).__name__} has a fixed attention implementation")
        yield
    finally:
        model.set_attn_implementation(before)


def is_packed(model) -> bool:
    """Whether `model` is inside `packed_attention`."""
    return model.config._attn_implementation == _NAME


def _attention(
    module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: Layout | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """query [rows, heads, width, d], key and value [rows, kv_heads, width, d] -> [rows, width, heads, d]."""
    if layout is None:
        raise NotImplementedError(
            "packed attention without a layout: the model does not hand it to its layers"
        )
    if unsupported := [name for name in ("softcap", "s_aux") if kwargs.get(name) is not None]:
        raise NotImplementedError(f"packed attention with {unsupported[0]}")
    scale = scaling if scaling is not None else 1 / math.sqrt(query.shape[-1])
    window = kwargs.get("sliding_window")
    # Autocast covers PyTorch's attention but not the other kernels.
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = (states.to(dtype) for states in (query, key, value))
    if torch.is_grad_enabled() and (dropout or not _has_varlen(query)):
        return _each(query, key, value, layout, scale, window, dropout), None
    rows, _, width, _ = query.shape
    flat = [states.transpose(1, 2).flatten(0, 1) for states in (query, key, value)]  # [tokens, heads, d]
    attend = _varlen if _has_varlen(query) else _grouped
    return attend(*flat, layout, scale, window).unflatten(0, (rows, width)), None


def _each(query, key, value, layout: Layout, scale, window, dropout) -> torch.Tensor:
    """One sample at a time; padding gets zeros."""
    kv_heads, width = key.shape[1:3]
    rows = []
    for r, lengths in enumerate(layout["lengths"]):
        padding = width - sum(lengths)
        # One split, not a slice per sample: the gradient of every slice is a tensor of full size.
        parts = [states[r].split([*lengths, padding], dim=1) for states in (query, key, value)]
        attended = []
        for q, k, v in list(zip(*parts, strict=True))[: len(lengths)]:
            # Expand each key head over the query heads that share it, without a copy.
            q = q.unflatten(0, (kv_heads, -1))
            k, v = (states[:, None].expand(-1, q.shape[1], -1, -1) for states in (k, v))
            attended.append(_sdpa(q, k, v, scale, window, dropout).flatten(0, 1))
        attended.append(query.new_zeros(query.shape[1], padding, value.shape[3]))
        rows.append(torch.cat(attended, dim=1))
    return torch.stack(rows).transpose(1, 2)


def _grouped(query, key, value, layout: Layout, scale, window) -> torch.Tensor:
    """Samples of similar length together; [tokens, heads, d] in and out. Padding gets some token's output."""
    heads, size = key.shape[1:]
    # One row per key head, in which the query heads that share it lie side by side.
    query, key, value = (states.reshape(len(states) * heads, -1) for states in (query, key, value))
    head = torch.arange(heads, device=query.device)
    outputs = query.new_empty(heads * sum(tokens.numel() for tokens, _ in layout["groups"]), query.shape[1])
    start = 0
    for tokens, lengths in layout["groups"]:
        states_read = tokens[:, None] * heads + head[:, None]  # [n, heads, longest]
        stop = start + states_read.numel()
        q, k, v = (states.index_select(0, states_read.flatten()) for states in (query, key, value))
        shape = (len(tokens) * heads, -1, size)  # [n * heads, longest x shared queries or longest, d]
        blocks = [part.view(shape) for part in (q, k, v, outputs[start:stop])]
        if q.is_cuda:
            _shared_sdpa(*blocks, scale, window)
        else:
            _blocked(*blocks, lengths, scale, window)
        start = stop
    first, longest, step = layout["slots"]
    back = (first * heads + step)[:, None] + longest[:, None] * head
    return outputs.index_select(0, back.flatten()).view(len(query) // heads, -1, size)


def _blocked(query, key, value, output, lengths: list[int], scale: float, window: int | None = None) -> None:
    """Causal attention as matrix products over blocks of queries, each with the keys it may see.

    For CPUs, which have fast matrix products and no fast kernel for this (tests/benchmarks/scoring.py).
    key and value [n, longest, d]; query and output [n, longest x shared, d], with `shared` queries per key.
    `lengths` of the samples, longest first; n is a multiple of their number. A block skips the samples that
    end before it.
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
        torch.bmm(scores.softmax(-1), value[seen], out=output[rows])


def _shared_sdpa(query, key, value, output, scale: float, window: int | None) -> None:
    """The same with PyTorch's attention, for GPUs. Shapes as in `_blocked`."""
    length = key.shape[1]
    query = query.unflatten(1, (length, -1)).transpose(1, 2)
    key, value = (states[:, None].expand_as(query) for states in (key, value))
    output.unflatten(1, (length, -1)).copy_(_sdpa(query, key, value, scale, window).transpose(1, 2))


def _sdpa(query, key, value, scale: float, window: int | None, dropout: float = 0.0) -> torch.Tensor:
    """PyTorch's causal attention, limited to the last `window` keys if given."""
    length = query.shape[-2]
    if window and length > window:
        steps = torch.arange(length, device=query.device)
        distance = steps[:, None] - steps[None, :]
        mask = {"attn_mask": (distance >= 0) & (distance < window)}
    else:
        mask = {"is_causal": True}
    return F.scaled_dot_product_attention(query, key, value, **mask, scale=scale, dropout_p=dropout)


def _has_varlen(query: torch.Tensor) -> bool:
    """Whether PyTorch (2.10 or newer) has a flash kernel for sequences of unequal length on this GPU."""
    if not query.is_cuda or query.dtype == torch.float32 or query.shape[-1] > 256:
        return False
    if find_spec("torch.nn.attention.varlen") is None:
        return False
    return torch.cuda.get_device_capability(query.device) >= (8, 0)


def _varlen(query, key, value, layout: Layout, scale, window) -> torch.Tensor:
    """[tokens, heads, d] in and out; key and value may have fewer heads."""
    from torch.nn.attention.varlen import varlen_attn

    ends, longest = layout["ends"], layout["longest"]
    return varlen_attn(
        query.contiguous(),
        key.contiguous(),
        value.contiguous(),
        ends,
        ends,
        longest,
        longest,
        scale=scale,
        window_size=(window - 1 if window else -1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )


AttentionInterface.register(_NAME, _attention)

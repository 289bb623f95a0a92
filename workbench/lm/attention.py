"""Causal attention within each sample of a packed batch, registered with transformers.

Three kernels compute the same result:

- on GPUs that have it: PyTorch's flash kernel for sequences of unequal length;
- on CPUs, and on other GPUs without gradients: samples of similar length side by side, padded to the longest.
  They need no mask beyond the causal one, because a token never attends to what follows it;
- on other GPUs with gradients, and with attention dropout: PyTorch's attention on one sample at a time.
"""

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from .batching import Layout
from .blocks import block_attention

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
    shares = layout["ends"] is None
    windowed = not _cuts(window, layout) or _accepts("window_size")
    use_varlen = not shares and _has_varlen(query) and not dropout and windowed
    if torch.is_grad_enabled() and not use_varlen and (dropout or query.is_cuda):
        if shares:
            raise NotImplementedError("gradients of samples that share tokens")
        return _each(query, key, value, layout, scale, window, dropout), None
    rows, _, width, _ = query.shape
    flat = [states.transpose(1, 2).flatten(0, 1) for states in (query, key, value)]  # [tokens, heads, d]
    attend = _varlen if use_varlen else _grouped
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
    outputs = []
    for tokens, lengths in layout["groups"]:
        states_read = tokens[:, None] * heads + head[:, None]  # [n, heads, longest]
        shape = (len(tokens) * heads, -1, size)  # [n * heads, longest x shared queries or longest, d]
        q, k, v = (
            states.index_select(0, states_read.flatten()).view(shape) for states in (query, key, value)
        )
        if q.is_cuda:
            attended = _shared_sdpa(q, k, v, scale, window)
        else:
            attended = block_attention(q, k, v, lengths, scale, window or 0)
        outputs.append(attended.flatten(0, 1).view(states_read.numel(), -1))
    outputs = torch.cat(outputs)
    first, longest, step = layout["slots"]
    back = (first * heads + step)[:, None] + longest[:, None] * head
    return outputs.index_select(0, back.flatten()).view(len(query) // heads, -1, size)


def _shared_sdpa(query, key, value, scale: float, window: int | None) -> torch.Tensor:
    """The same as `block_attention` with PyTorch's attention, for GPUs."""
    query = query.unflatten(1, (key.shape[1], -1)).transpose(1, 2)
    key, value = (states[:, None].expand_as(query) for states in (key, value))
    return _sdpa(query, key, value, scale, window).transpose(1, 2).flatten(1, 2)


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


def _accepts(parameter: str) -> bool:
    """Whether this PyTorch's `varlen_attn` has `parameter`: 2.10 lacks scale, window_size and enable_gqa, and
    2.11 lacks enable_gqa."""
    from torch.nn.attention.varlen import varlen_attn

    return parameter in _parameters(varlen_attn)


@cache
def _parameters(function) -> frozenset[str]:
    """The names of the parameters of `function`; cached, because every layer asks."""
    return frozenset(inspect.signature(function).parameters)


def _cuts(window: int | None, layout: Layout) -> bool:
    """Whether a sliding window of `window` keys hides any key of these samples."""
    return bool(window) and window < layout["longest"]


def _varlen(query, key, value, layout: Layout, scale, window) -> torch.Tensor:
    """[tokens, heads, d] in and out; key and value may have fewer heads."""
    from torch.nn.attention.varlen import varlen_attn

    options: dict = {}
    if _accepts("window_size"):
        options["window_size"] = (window - 1 if window else -1, 0)  # causal: no key ahead
    else:
        options["is_causal"] = True
    if _accepts("scale"):
        options["scale"] = scale
    else:
        query = query * (scale * math.sqrt(query.shape[-1]))  # the kernel divides by the root
    if (shared := query.shape[1] // key.shape[1]) > 1:
        if _accepts("enable_gqa"):
            options["enable_gqa"] = True
        else:
            key, value = (states.repeat_interleave(shared, 1) for states in (key, value))
    ends, longest = layout["ends"], layout["longest"]
    states = (query.contiguous(), key.contiguous(), value.contiguous())
    return varlen_attn(*states, ends, ends, longest, longest, **options)


AttentionInterface.register(_NAME, _attention)

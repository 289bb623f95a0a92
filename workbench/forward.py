"""One forward pass over isolated samples: attention within each sample, the LM head on predicted positions
only.

Scoring, training and held-out loss all go through `target_nll`, so they agree by construction.
"""

import warnings
from collections.abc import Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface
from transformers.modeling_outputs import CausalLMOutput

from .batching import Batch, collate
from .prompts import IGNORE_INDEX, Sample

_ATTENTION = "workbench_segments"
_HEAD_ROWS = 512  # positions through the LM head at once: 512 x 49,152 fp32 logits are 100 MB


def _segment_attention(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, segments=None, **kwargs
):
    """Causal attention within each sample of each row; padding gets zeros.

    query [rows, heads, length, d], key and value [rows, kv_heads, length, d] -> [rows, length, heads, d].
    """
    if unsupported := [name for name in ("softcap", "s_aux") if kwargs.get(name) is not None]:
        raise NotImplementedError(f"attention with {unsupported[0]}")
    length, groups = query.shape[2], query.shape[1] // key.shape[1]
    rows = []
    for r, lengths in enumerate(segments):
        padding = length - sum(lengths)
        # One split instead of a slice for each sample: the gradient of every slice is a tensor of full size.
        parts = [t[r : r + 1].split([*lengths, padding], dim=2) for t in (query, key, value)]
        attended = [
            F.scaled_dot_product_attention(
                q,
                k.repeat_interleave(groups, dim=1),
                v.repeat_interleave(groups, dim=1),
                **_causal(q, kwargs.get("sliding_window")),
                scale=scaling,
                dropout_p=dropout,
            )
            for q, k, v in list(zip(*parts, strict=True))[: len(lengths)]
        ]
        attended.append(attended[0].new_zeros(*attended[0].shape[:2], padding, attended[0].shape[3]))
        rows.append(torch.cat(attended, dim=2))
    return torch.cat(rows).transpose(1, 2), None


def _causal(query: torch.Tensor, window: int | None) -> dict:
    """What tells scaled_dot_product_attention to look back only, and no further than `window`."""
    length = query.shape[2]
    if not window or length <= window:
        return {"is_causal": True}
    at = torch.arange(length, device=query.device)
    back = at[:, None] - at[None, :]
    return {"attn_mask": (back >= 0) & (back < window)}


AttentionInterface.register(_ATTENTION, _segment_attention)


@contextmanager
def isolated(model):
    """Within this context `model` takes `segments` and keeps attention inside them."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_ATTENTION)
    try:
        yield model
    finally:
        model.set_attn_implementation(before)


def _head_nll(head, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(head(hidden).float(), targets, reduction="none")


def target_nll(model, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood (nats) of every predicted token, in the order of `batch.labels != ignore`.

    `model` must be under `isolated`. Full logits are never held: hidden states of predicted positions go
    through the head in chunks, in training with the logits computed again on the way back.
    """
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    hidden = decoder(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        segments=batch.segments,
        use_cache=False,
    ).last_hidden_state
    rows, columns = (batch.labels != IGNORE_INDEX).nonzero(as_tuple=True)
    hidden, targets = hidden[rows, columns - 1], batch.labels[rows, columns]
    chunks = zip(hidden.split(_HEAD_ROWS), targets.split(_HEAD_ROWS), strict=True)
    if torch.is_grad_enabled():
        return torch.cat([checkpoint(_head_nll, head, h, t, use_reentrant=False) for h, t in chunks])
    return torch.cat([_head_nll(head, h, t) for h, t in chunks])


@contextmanager
def packed_loss(model):
    """Within this context `model(**batch.as_inputs())` gives the mean loss over isolated samples.

    With `num_items_in_batch` (the predicted tokens of a whole accumulation window) the sum is divided by that
    instead, so that the loss does not depend on how samples are spread over forward passes.
    """

    def loss_only(input_ids, position_ids, labels, segments, num_items_in_batch=None, **unused):
        nll = target_nll(model, Batch(input_ids, position_ids, labels, segments))
        items = len(nll) if num_items_in_batch is None else num_items_in_batch
        return CausalLMOutput(loss=nll.sum() / items)

    original = model.forward
    with isolated(model):
        model.forward = loss_only  # the inner model's, so that wrappers (adapters, data parallel) still work
        try:
            yield model
        finally:
            model.forward = original


def _alone_nll(model, sample: Sample) -> torch.Tensor:
    """nll of the predicted tokens of one sample in a pass of its own, without anything of this module."""
    ids = torch.tensor([sample.input_ids], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, sample.first_target - 1 : -1]
    return F.cross_entropy(logits.float(), ids[0, sample.first_target :], reduction="none")


@torch.inference_mode()
def leak(model) -> float:
    """Largest difference in nll (nats per token) between samples run packed and run alone.

    An architecture that ignores `segments` or restarting positions shows tenths, where rounding alone shows
    next to nothing. Infinite where it cannot take them at all.
    """
    ids = [token % model.config.vocab_size for token in range(7, 407, 10)]
    samples = [Sample(tuple(ids[:17]), 1), Sample(tuple(ids[17:]), 1)]
    alone = torch.cat([_alone_nll(model, sample) for sample in samples])
    try:
        with isolated(model):
            packed = target_nll(model, collate([samples]).to(model.device))
    except (NotImplementedError, TypeError, ValueError, AttributeError):
        return float("inf")
    return (packed - alone).abs().max().item()


def isolates(model) -> bool:
    """Whether `model` keeps packed samples apart: tried once for each loaded model (`leak`)."""
    known = getattr(model, "_workbench_isolates", None)
    if known is None:
        known = model._workbench_isolates = leak(model) <= (1e-3 if model.dtype == torch.float32 else 0.1)
    return known


@torch.inference_mode()
def summed_nll(model, samples: Sequence[Sample]) -> list[float]:
    """nll (nats) summed over the predicted tokens of each sample, from one flat forward pass."""
    if not isolates(model):
        warnings.warn(
            f"{type(model).__name__} does not keep packed samples apart; each sample gets a forward pass "
            f"of its own, which is slower and just as exact.",
            stacklevel=2,
        )
        return [_alone_nll(model, sample).double().sum().item() for sample in samples]
    batch = collate([samples]).to(model.device)
    with isolated(model):
        nll = target_nll(model, batch).double()
    return [part.sum().item() for part in nll.split([sample.n_targets for sample in samples])]

"""One forward pass over isolated samples, with the LM head on predicted positions only.

Scoring and held-out loss go through `target_nll`, training through `packed_loss`: the same hidden states.
"""

import warnings
from collections.abc import Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from transformers.modeling_outputs import CausalLMOutput

from . import cross_entropy
from .attention import Layout, isolated
from .batching import Batch, collate
from .prompts import IGNORE_INDEX, Sample

_HEAD_ROWS = 1024  # positions through the LM head at once: 1,024 x 49,152 fp32 logits are 200 MB
_HEAD_TOKENS = 4096  # of the vocabulary at once on a CPU, whose cache then keeps the logits
_PADDED_TOKENS = 1024  # in one padded batch, whose full logits are held


def _head_nll(head, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """nll [positions] of `targets` after `hidden` [positions, d]."""
    if torch.is_grad_enabled() or hidden.is_cuda or not isinstance(head, torch.nn.Linear):
        return F.cross_entropy(head(hidden).float(), targets, reduction="none")
    sums = []
    for start in range(0, len(head.weight), _HEAD_TOKENS):
        some = slice(start, start + _HEAD_TOKENS)
        logits = F.linear(hidden, head.weight[some], None if head.bias is None else head.bias[some])
        # One pass of one kernel, where logsumexp takes four: any logit less its log-probability is the sum.
        sums.append(logits[:, 0].float() - logits.log_softmax(-1, dtype=torch.float32)[:, 0])
    found = (hidden.float() * head.weight[targets].float()).sum(-1)
    if head.bias is not None:
        found += head.bias[targets]
    # Rounded as the logits in the sum are: else a token predicted for certain could have a negative nll.
    return torch.stack(sums).logsumexp(0) - found.to(hidden.dtype).float()


def _predicting(model, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states [positions, d] that predict a token, and these tokens, in the order of the labels."""
    hidden = model.get_decoder()(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        segments=Layout(batch.segments, batch.input_ids.shape[1], batch.input_ids.device),
        use_cache=False,
    ).last_hidden_state
    labels = batch.labels.flatten()
    (at,) = (labels != IGNORE_INDEX).nonzero(as_tuple=True)
    return hidden.flatten(0, 1).index_select(0, at - 1), labels[at]


def target_nll(model, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood (nats) of every predicted token, in the order of `batch.labels != ignore`.

    `model` must be under `isolated`. Full logits are never held: hidden states of predicted positions go
    through the head in chunks.
    """
    hidden, targets = _predicting(model, batch)
    head = model.get_output_embeddings()
    chunks = zip(hidden.split(_HEAD_ROWS), targets.split(_HEAD_ROWS), strict=True)
    return torch.cat([_head_nll(head, h, t) for h, t in chunks])


@contextmanager
def packed_loss(model):
    """Within this context `model(**batch.as_inputs())` gives the mean loss over isolated samples.

    With `num_items_in_batch` (the predicted tokens of a whole accumulation window) the sum is divided by that
    instead, so that the loss does not depend on how samples are spread over forward passes. Call backward in
    this context too: layers that are computed again must find the same attention.
    """

    def loss_only(input_ids, position_ids, labels, segments, num_items_in_batch=None, **unused):
        hidden, targets = _predicting(model, Batch(input_ids, position_ids, labels, segments))
        items = len(targets) if num_items_in_batch is None else num_items_in_batch
        return CausalLMOutput(
            loss=cross_entropy.summed(model.get_output_embeddings(), hidden, targets) / items
        )

    original = model.forward
    with isolated(model):
        model.forward = loss_only  # the inner model's, so that wrappers (adapters, data parallel) still work
        try:
            yield model
        finally:
            model.forward = original


def _own_nll(model, samples: Sequence[Sample]) -> list[torch.Tensor]:
    """nll of the predicted tokens of each of `samples`, padded to the longest of them, by the model's own
    forward pass and attention: nothing of this module, and the full logits."""
    longest = max(len(sample.input_ids) for sample in samples)
    ids = torch.zeros((len(samples), longest), dtype=torch.long)
    filled = torch.zeros_like(ids)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.input_ids)] = torch.tensor(sample.input_ids)
        filled[row, : len(sample.input_ids)] = 1
    ids = ids.to(model.device)
    mask = {"attention_mask": filled.to(model.device)} if len(samples) > 1 else {}
    logits = model(input_ids=ids, use_cache=False, **mask).logits
    found = []
    for row, sample in enumerate(samples):
        first, end = sample.first_target, len(sample.input_ids)
        found.append(
            F.cross_entropy(logits[row, first - 1 : end - 1].float(), ids[row, first:end], reduction="none")
        )
    return found


def _packed_nll(model, samples: Sequence[Sample]) -> list[torch.Tensor]:
    """The same from one flat row."""
    with isolated(model):
        nll = target_nll(model, collate([samples]).to(model.device))
    return list(nll.split([sample.n_targets for sample in samples]))


def _differs(model, together, gradients: bool = False) -> float:
    """Mean difference in nll (nats per token) between samples that run `together` and each by itself.

    An architecture that lets samples see each other, or misplaces them, shows half a nat, where the rounding
    of 16-bit weights shows hundredths. Infinite where it cannot run them so at all. Attention has one way of
    its own where there are `gradients`, and another where there are none.
    """
    # The second is long enough for attention to go by blocks.
    ids = [token % model.config.vocab_size for token in range(7, 1077, 10)]
    samples = [Sample(tuple(ids[:17]), 1), Sample(tuple(ids[17:]), 1)]
    try:
        with torch.set_grad_enabled(gradients):
            found = torch.cat(together(model, samples)).detach()
    except (NotImplementedError, TypeError, ValueError, AttributeError):
        return float("inf")
    with torch.no_grad():
        alone = torch.cat([nll for sample in samples for nll in _own_nll(model, [sample])])
    return (found - alone).abs().mean().item()


def leak(model) -> float:
    """How far packed samples of `model` are from each alone: mean difference in nats per token."""
    return max(_differs(model, _packed_nll, gradients) for gradients in (False, True))


def _rounding(model) -> float:
    """The difference that is no leak."""
    return 1e-3 if model.dtype == torch.float32 else 0.2


def _way(model) -> str:
    """How `model` can run many samples: "packed", "padded" or "alone". Tried once for each loaded model."""
    way = getattr(model, "_workbench_way", None)
    if way is None:
        ways = {"packed": _packed_nll, "padded": _own_nll}
        fit = (way for way, together in ways.items() if _differs(model, together) <= _rounding(model))
        way = model._workbench_way = next(fit, "alone")
    return way


def isolates(model) -> bool:
    """Whether `model` keeps packed samples apart, in training too."""
    return leak(model) <= _rounding(model)


@torch.inference_mode()
def token_nll(model, samples: Sequence[Sample]) -> list[np.ndarray]:
    """nll (nats, float32) of the predicted tokens of each sample, from one flat forward pass.

    A model that does not keep packed samples apart gets padded batches, or one sample at a time, and is named
    in a warning.
    """
    way = _way(model)
    if way == "packed":
        found = _packed_nll(model, samples)
    else:
        instead = "padded to batches" if way == "padded" else "run one by one"
        warnings.warn(
            f"{type(model).__name__} does not keep packed samples apart; they are {instead}, which is slower "
            f"and just as exact.",
            stacklevel=2,
        )
        found = _padded_nll(model, samples, _PADDED_TOKENS if way == "padded" else 1)
    flat = torch.cat(found).cpu().numpy()  # one transfer: a GPU waits at each
    return np.split(flat, np.cumsum([sample.n_targets for sample in samples])[:-1])


def summed_nll(model, samples: Sequence[Sample]) -> list[float]:
    """nll (nats) summed over the predicted tokens of each sample."""
    return [float(nll.sum(dtype=np.float64)) for nll in token_nll(model, samples)]


def _padded_nll(model, samples: Sequence[Sample], most: int) -> list[torch.Tensor]:
    """`samples` in padded batches of at most `most` tokens, those of like length together."""
    order = sorted(range(len(samples)), key=lambda i: -len(samples[i].input_ids))
    found: list = [None] * len(samples)
    while order:
        fit = max(1, most // len(samples[order[0]].input_ids))
        batch, order = order[:fit], order[fit:]
        for i, nll in zip(batch, _own_nll(model, [samples[i] for i in batch]), strict=True):
            found[i] = nll
    return found

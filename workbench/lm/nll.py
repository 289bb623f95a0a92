"""Negative log-likelihood per target, packed or padded."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from accelerate.utils import send_to_device

from .attention import packed_attention
from .batching import collate, collate_families
from .packed import predicting_states
from .prompts import IGNORE_INDEX, Sample

_HEAD_ROWS = 1024  # positions per call of the LM head: 1,024 x 49,152 float32 logits take 200 MB
_HEAD_TOKENS = 4096  # vocabulary entries per product on a CPU, so that the logits stay in its cache


def target_nll(model, batch: dict) -> torch.Tensor:
    """Negative log-likelihood (nats, float32 [n]) of the n targets of `batch`, in the order of its labels.

    `batch` comes from `collate`; `model` must be inside `packed_attention`. Only hidden states that predict a
    target go through the LM head, a chunk at a time: the full logits are never held.
    """
    hidden, targets = predicting_states(model, **batch)
    head = model.get_output_embeddings()
    chunks = zip(hidden.split(_HEAD_ROWS), targets.split(_HEAD_ROWS), strict=True)
    return torch.cat([_head_nll(head, states, tokens) for states, tokens in chunks])


def _head_nll(head, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """nll [n] of `targets` [n] after `hidden` [n, d]."""
    if torch.is_grad_enabled() or hidden.is_cuda or not isinstance(head, torch.nn.Linear):
        return F.cross_entropy(head(hidden).float(), targets, reduction="none")
    normalizers = []
    for start in range(0, len(head.weight), _HEAD_TOKENS):
        part = slice(start, start + _HEAD_TOKENS)
        logits = F.linear(hidden, head.weight[part], None if head.bias is None else head.bias[part])
        # logsumexp from one kernel, where torch.logsumexp takes four: any logit less its log-probability.
        normalizers.append(logits[:, 0].float() - logits.log_softmax(-1, dtype=torch.float32)[:, 0])
    target_logits = (hidden.float() * head.weight[targets].float()).sum(-1)
    if head.bias is not None:
        target_logits += head.bias[targets]
    # Round as the logits above are rounded; otherwise a near-certain token could have a negative nll.
    return torch.stack(normalizers).logsumexp(0) - target_logits.to(logits.dtype).float()


def packed_nll(model, samples: Sequence[Sample]) -> list[torch.Tensor]:
    """nll (nats, float32 [n_targets]) of each sample, from one row that holds all of them."""
    with packed_attention(model):
        nll = target_nll(model, send_to_device(collate([samples]), model.device))
    return list(nll.split([sample.n_targets for sample in samples]))


def family_nll(model, families: Sequence[Sequence[Sample]]) -> list[list[torch.Tensor]]:
    """The same for each member of each family, whose members share the tokens that they begin with."""
    batch, targets = collate_families(families)
    (order,) = (batch["labels"].flatten() != IGNORE_INDEX).nonzero(as_tuple=True)
    with packed_attention(model):
        nll = target_nll(model, send_to_device(batch, model.device))
    return [
        [nll[torch.searchsorted(order, positions).to(nll.device)] for positions in members]
        for members in targets
    ]


def padded_nll(model, samples: Sequence[Sample]) -> list[torch.Tensor]:
    """The same from one padded batch, with the model's own forward pass, attention and full logits."""
    longest = max(len(sample.input_ids) for sample in samples)
    ids = torch.zeros((len(samples), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.input_ids)] = torch.tensor(sample.input_ids)
        mask[row, : len(sample.input_ids)] = 1
    ids = ids.to(model.device)
    padding = {"attention_mask": mask.to(model.device)} if len(samples) > 1 else {}
    logits = model(input_ids=ids, use_cache=False, **padding).logits
    nll = []
    for row, sample in enumerate(samples):
        positions = (torch.tensor(sample.labels) != IGNORE_INDEX).nonzero().flatten().to(ids.device)
        predictions, targets = logits[row, positions - 1].float(), ids[row, positions]
        nll.append(F.cross_entropy(predictions, targets, reduction="none"))
    return nll

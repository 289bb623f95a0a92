"""Negative log-likelihood of many samples, in the fastest way that is exact for the model."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch

from .mode import batch_mode, shares_prefixes
from .nll import family_nll, packed_nll, padded_nll
from .prompts import Sample

_PADDED_TOKENS = 1024  # tokens of a padded batch, whose full logits are held


@torch.inference_mode()
def token_nll(model, samples: Sequence[Sample]) -> list[np.ndarray]:
    """nll (nats, float32 [n_targets]) of the targets of each sample, from one packed forward pass.

    A model that fails the self-test of `batch_mode` runs in padded batches or one sample at a time instead,
    with a warning that says why.
    """
    mode = batch_mode(model)
    if mode.name == "packed":
        nll = packed_nll(model, samples)
    else:
        instead = "in padded batches" if mode.name == "padded" else "one at a time"
        warnings.warn(
            f"{type(model).__name__} cannot run packed samples ({mode.reason}). They run {instead}, which is "
            f"slower and equally exact.",
            stacklevel=2,
        )
        nll = _in_padded_batches(model, samples, _PADDED_TOKENS if mode.name == "padded" else 1)
    flat = torch.cat(nll).cpu().numpy()  # one transfer, because a GPU synchronizes at each
    return np.split(flat, np.cumsum([sample.n_targets for sample in samples])[:-1])


def summed_nll(model, samples: Sequence[Sample]) -> list[float]:
    """nll (nats) summed over the targets of each sample."""
    return [float(nll.sum(dtype=np.float64)) for nll in token_nll(model, samples)]


@torch.inference_mode()
def summed_family_nll(model, families: Sequence[Sequence[Sample]]) -> list[list[float]]:
    """`summed_nll` of each member of each family, e.g. of a program and its variants.

    The members of a family share the forward pass of the tokens that they begin with, if a self-test shows
    that this is exact for the model.
    """
    if not shares_prefixes(model):
        nll = iter(summed_nll(model, [member for family in families for member in family]))
        return [[next(nll) for _ in family] for family in families]
    nll = family_nll(model, families)
    sums = torch.stack([member.sum(dtype=torch.float64) for members in nll for member in members]).tolist()
    sums = iter(sums)
    return [[next(sums) for _ in family] for family in families]


def _in_padded_batches(model, samples: Sequence[Sample], token_budget: int) -> list[torch.Tensor]:
    """`padded_nll` in batches of similar length and at most `token_budget` tokens, or one sample."""
    order = sorted(range(len(samples)), key=lambda i: -len(samples[i].input_ids))
    nll: list = [None] * len(samples)
    while order:
        size = max(1, token_budget // len(samples[order[0]].input_ids))
        batch, order = order[:size], order[size:]
        for i, sample_nll in zip(batch, padded_nll(model, [samples[i] for i in batch]), strict=True):
            nll[i] = sample_nll
    return nll

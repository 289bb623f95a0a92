"""Held-out loss: nats per token of reference responses that were not trained on."""

import datasets
import torch

from ..core import progress
from ..lm import forward, prompts
from ..lm.batching import flat_batches

_TOKEN_BUDGET = 2048


@torch.inference_mode()
def heldout_loss(
    model, tokenizer, ds: datasets.Dataset, *, template: str = "auto", max_length: int = 2048
) -> float:
    """Summed nll of all response tokens (and closing end-of-sequence) / their number.

    Over tokens, not a mean of row means: a long response counts as much as it trains.
    """
    samples = prompts.training_samples(
        tokenizer, ds["instruction"][:], ds["response"][:], template, max_length
    )
    samples = [sample for sample in samples if sample.n_targets]
    total = 0.0
    with progress.bar(len(samples), "held-out loss") as bar:
        for batch in flat_batches([[sample] for sample in samples], _TOKEN_BUDGET):
            total += sum(forward.summed_nll(model, [samples[i] for i in batch]))
            bar.update(len(batch))
    return total / sum(sample.n_targets for sample in samples)

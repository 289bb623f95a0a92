"""Held-out loss: nats per token of reference responses that the model was not trained on."""

import datasets
import torch

from ..core import progress
from ..lm import forward, prompts
from ..lm.batching import flat_batches

_TOKEN_BUDGET = 2048  # tokens per forward pass


@torch.inference_mode()
def heldout_loss(
    model, tokenizer, ds: datasets.Dataset, *, template: str = "auto", max_length: int = 2048
) -> float:
    """Mean loss of the responses in `ds`, in nats per token.

    Sums the negative log-likelihood over all response tokens, each with its closing end-of-sequence token,
    and divides by their number: the loss of training (arXiv 2504.12687). This is no mean of row means: longer
    responses weigh more, as they do in training.

    `ds` has the columns `instruction` and `response`. `template` is a prompt template of `wb.finetune`;
    "auto" takes the model's chat template, else DeepSeek's. Rows are cut to `max_length` tokens; rows without
    a response token left take no part.
    """
    template = prompts.resolve_template(tokenizer, template)
    questions = prompts.questions(ds, template)
    samples = prompts.training_samples(tokenizer, questions, ds["response"][:], template, max_length)
    samples = [sample for sample in samples if sample.n_targets]
    total = 0.0
    with progress.bar(len(samples), "held-out loss") as bar:
        for batch in flat_batches([[sample] for sample in samples], _TOKEN_BUDGET):
            total += sum(forward.summed_nll(model, [samples[i] for i in batch]))
            bar.update(len(batch))
    return total / sum(sample.n_targets for sample in samples)

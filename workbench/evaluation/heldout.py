"""What a model makes of reference responses: held-out loss, and preference over broken twins."""

from collections.abc import Mapping, Sequence

import datasets
import numpy as np
import pandas as pd
import torch

from ..core import progress
from ..core.errors import UserError
from ..lm import forward, prompts
from ..lm.batching import family_size, flat_batches
from ..lm.prompts import Sample

MAX_LENGTH = 2048  # tokens of a reference with its prompt
_TOKEN_BUDGET = 2048  # tokens per forward pass


@torch.inference_mode()
def heldout_loss(
    model, tokenizer, ds: datasets.Dataset, *, template: str = "auto", max_length: int = MAX_LENGTH
) -> float:
    """Mean loss of the responses in `ds`, in nats per token.

    Sums the negative log-likelihood over all response tokens, each with its closing end-of-sequence token,
    and divides by their number: the loss of training (arXiv 2504.12687). This is no mean of row means: longer
    responses weigh more, as they do in training.

    `ds` has the columns `instruction` and `response`. `template` is a prompt template of `wb.finetune`;
    "auto" takes the model's chat template, else DeepSeek's. Rows are cut to `max_length` tokens; rows without
    a response token left, or that the chat template refuses, take no part. Raises UserError if no row takes
    part.
    """
    loss, without = loss_and_rows_without(model, tokenizer, ds, template, max_length)
    if loss is None:
        raise UserError(f"heldout: none of the {len(ds)} rows counts in the loss: {without[0]}.")
    return loss


def loss_and_rows_without(
    model, tokenizer, ds: datasets.Dataset, template: str, max_length: int = MAX_LENGTH
) -> tuple[float | None, dict[int, str]]:
    """`heldout_loss`, None if no row has a response token, and for each row without one the reason."""
    template = prompts.resolve_template(tokenizer, template)
    questions = prompts.questions(ds, template)
    samples = prompts.training_samples(tokenizer, questions, ds["response"][:], template, max_length)
    without = {
        row: sample.refusal or f"no response token within max_length={max_length}"
        for row, sample in enumerate(samples)
        if not sample.n_targets
    }
    samples = [sample for sample in samples if sample.n_targets]
    if not samples:
        return None, without
    total = float(sample_nll(model, samples).sum())
    return total / sum(sample.n_targets for sample in samples), without


@torch.inference_mode()
def sample_nll(model, samples: Sequence[Sample]) -> np.ndarray:
    """nll (nats, float64 [n]) summed over the targets of each sample, from forward passes only."""
    nll = np.zeros(len(samples))
    scorable = [i for i, sample in enumerate(samples) if sample.n_targets]
    sizes = [len(samples[i].input_ids) for i in scorable]
    with progress.bar(len(scorable), "held-out loss") as bar:
        for batch in flat_batches(sizes, _TOKEN_BUDGET):
            rows = [scorable[k] for k in batch]
            nll[rows] = forward.summed_nll(model, [samples[i] for i in rows])
            bar.update(len(rows))
    return nll


def _family_nll(model, families: Sequence[Sequence[Sample]]) -> list[list[float]]:
    """`sample_nll` of each member of each family; members share the forward pass of their first tokens."""
    nll: list = [[0.0] * len(family) for family in families]
    scorable = [i for i, family in enumerate(families) if any(member.n_targets for member in family)]
    sizes = [family_size(families[i]) for i in scorable]
    with progress.bar(len(scorable), "likelihood") as bar:
        for batch in flat_batches(sizes, _TOKEN_BUDGET):
            rows = [scorable[k] for k in batch]
            sums = forward.summed_family_nll(model, [families[i] for i in rows])
            for i, members in zip(rows, sums, strict=True):
                nll[i] = members
            bar.update(len(batch))
    return nll


def likelihood_table(
    model, references: Mapping[str, Sample], twins: Sequence[tuple[str, Sample]]
) -> pd.DataFrame:
    """A row per task, indexed by its id, from the nll of the reference and of its twins.

    Columns: `loss` (nats per token of the reference), `n_tokens` (its targets), `preference` (share of the
    twins with a larger summed nll than the reference, 0 to 1), `margin` (mean nll of the twins minus that of
    the reference, nats) and `n_twins`. The last three are there if `twins`, (task id, sample) pairs, has
    elements; the first two of them are NaN for a task without twins. A twin that is cut to the same tokens as
    its reference takes no part.
    """
    families = {task_id: [reference] for task_id, reference in references.items()}
    for task_id, twin in twins:
        if twin != references[task_id]:
            families[task_id].append(twin)
    nll = [np.array(sums) for sums in _family_nll(model, list(families.values()))]
    index = pd.Index(families, name="task_id")
    n_tokens = np.array([reference.n_targets for reference in references.values()])
    own = pd.Series([sums[0] for sums in nll], index=index, dtype=float)
    table = pd.DataFrame({"loss": own / np.where(n_tokens, n_tokens, np.nan), "n_tokens": n_tokens})
    margins = [sums[1:] - sums[0] for sums in nll]
    if any(map(len, margins)):
        table["preference"] = [(margin > 0).mean() if len(margin) else np.nan for margin in margins]
        table["margin"] = [margin.mean() if len(margin) else np.nan for margin in margins]
        table["n_twins"] = [len(margin) for margin in margins]
    return table

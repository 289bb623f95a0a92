"""Token-level view of a score: how much the instruction helps with each token of the response."""

from dataclasses import dataclass
from difflib import SequenceMatcher

import datasets
import numpy as np
import pandas as pd

from ..core import memory, tables
from ..core.errors import UserError, one_of
from ..lm import forward, models, prompts
from .pairs import CONVENTIONS, pairs


@dataclass(frozen=True, eq=False)
class Explanation:
    """The score of one row, token by token.

    `tokens` has one line per token of the response and the columns `token` (its text), `nll_response` and
    `nll_conditioned` (nats, without and with the instruction) and `gain`, their difference: positive if the
    instruction makes the token likelier. A token that only one side scores, such as the first one under
    `convention="paper"`, has NaN in `nll_response` and `gain`. `ifd` is the PPL ratio of the row.
    """

    instruction: str
    tokens: pd.DataFrame
    ifd: float


@memory.released_from_gpu()
def explain(
    ds: datasets.Dataset,
    row: int,
    model: str = "smollm2-135m",
    *,
    convention: str = "paper",
    prompt: str = "paper",
    dtype: str = "float32",
    device: str = "auto",
    max_length: int | None = None,
) -> Explanation:
    """Score one row of `ds` token by token.

    `row` is an index from 0; the other parameters are those of `wb.score`, whose IFD this reproduces for
    `variant="ppl-ratio"` without shrinkage. Runs the model each time: nothing is cached.

    Raises UserError if `row` or a setting is invalid, or if the row has no token to compare.
    """
    one_of("convention", convention, CONVENTIONS)
    one_of("prompt", prompt, prompts.SCORING_PROMPTS)
    tables.require(ds, ["instruction", "response"], "wb.load")
    if isinstance(row, bool) or not isinstance(row, (int, np.integer)) or not 0 <= row < len(ds):
        raise UserError(f"row={row!r} is not a row of the dataset; give a number from 0 to {len(ds) - 1}.")
    loaded, tokenizer = models.load_model(model, dtype, device)
    columns = ds[int(row) : int(row) + 1]
    max_length = max_length or models.context_length(model)
    questions, responses = prompts.questions(columns, prompt), columns["response"]
    (pair,) = pairs(tokenizer, questions, responses, max_length, convention, prompt)
    if not pair.scorable:
        raise UserError(f"row={row} has no response token to compare; see its score_reason.")
    alone, conditioned = forward.token_nll(loaded, [pair.alone, pair.conditioned])
    tokens = _aligned(tokenizer, pair, alone, conditioned)
    ifd = float(np.exp(conditioned.mean() - alone.mean()))
    return Explanation(columns["instruction"][0], tokens, ifd)


def _aligned(tokenizer, pair, alone: np.ndarray, conditioned: np.ndarray) -> pd.DataFrame:
    """Both sides by token.

    Tokens may differ where prompt and response meet and where a side is truncated.
    """
    first = pair.conditioned.first_target
    conditioned_ids, alone_ids = pair.conditioned.input_ids[first:], pair.alone.input_ids
    matched = np.full(len(conditioned_ids), np.nan)
    matcher = SequenceMatcher(None, conditioned_ids, alone_ids, autojunk=False)
    for block in matcher.get_matching_blocks():
        for i in range(block.size):
            if block.b + i >= pair.alone.first_target:
                matched[block.a + i] = alone[block.b + i - pair.alone.first_target]
    return pd.DataFrame(
        {
            "token": [tokenizer.decode([token]) for token in conditioned_ids],
            "nll_response": matched,
            "nll_conditioned": conditioned.astype(float),
            "gain": matched - conditioned,
        }
    )

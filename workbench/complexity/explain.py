"""Why a row has its score: what the instruction gains on each token of the response."""

from dataclasses import dataclass
from difflib import SequenceMatcher

import datasets
import numpy as np
import pandas as pd

from ..core import tables
from ..core.errors import UserError, one_of
from ..lm import forward, models, prompts
from .pairs import CONVENTIONS, pairs
from .scoring import questions_of


@dataclass(frozen=True)
class Explanation:
    """The tokens of a row's response.

    `tokens` has a line for each: `token` (its text), `nll_response` and `nll_conditioned` (nats), and `gain`,
    the first less the second: what the instruction makes the token more likely by. A token that one side does
    not score, as the paper's convention does with the first, is null there and has no gain.
    """

    instruction: str
    tokens: pd.DataFrame
    ifd: float


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
    """Score row number `row` of `ds` token by token; the settings are those of `score`."""
    one_of("convention", convention, CONVENTIONS)
    one_of("prompt", prompt, prompts.SCORING_PROMPTS)
    tables.require(ds, ["instruction", "response"], "wb.load")
    if isinstance(row, bool) or not isinstance(row, (int, np.integer)) or not 0 <= row < len(ds):
        raise UserError(f"row={row!r} is no row of the dataset; give a number from 0 to {len(ds) - 1}.")
    loaded, tokenizer = models.load_model(model, dtype, device)
    rows = ds[int(row) : int(row) + 1]
    asked = questions_of(rows, prompt)
    (pair,) = pairs(
        tokenizer, asked, rows["response"], max_length or models.context_length(model), convention, prompt
    )
    if not pair.scorable:
        raise UserError(f"row={row} has no token of the response to compare; see its score_reason.")
    alone, conditioned = forward.token_nll(loaded, [pair.alone, pair.conditioned])
    tokens = _aligned(tokenizer, pair, alone, conditioned)
    return Explanation(rows["instruction"][0], tokens, float(np.exp(conditioned.mean() - alone.mean())))


def _aligned(tokenizer, pair, alone: np.ndarray, conditioned: np.ndarray) -> pd.DataFrame:
    """Both sides by token. Where prompt and response meet, and where a cut fell, their tokens may differ."""
    first = pair.conditioned.first_target
    ids, bare = pair.conditioned.input_ids[first:], pair.alone.input_ids
    matched = np.full(len(ids), np.nan)
    for block in SequenceMatcher(None, ids, bare, autojunk=False).get_matching_blocks():
        for at in range(block.size):
            if block.b + at >= pair.alone.first_target:
                matched[block.a + at] = alone[block.b + at - pair.alone.first_target]
    return pd.DataFrame(
        {
            "token": [tokenizer.decode([token]) for token in ids],
            "nll_response": matched,
            "nll_conditioned": conditioned.astype(float),
            "gain": matched - conditioned,
        }
    )

"""`wb.score`: the IFD of each row, cached, with a status and a reason for rows without one."""

import time
from collections import Counter
from dataclasses import dataclass, field

import datasets

from ..core import memory, progress, tables
from ..core.errors import UserError, one_of, positive
from ..core.store import Store
from ..lm import models, prompts
from ..lm.devices import precision
from . import cached, variants
from .cached import ScoreCache
from .engine import TOKEN_BUDGET
from .pairs import CONVENTIONS, TOKENS_VERSION
from .row_scorer import RowScorer, ScorerSettings
from .rows import EMPTY, Score, refused

_ROUND = 1024  # rows tokenized and looked up at once, so that memory does not grow with the number of rows

FEATURES = {
    "nll_response": tables.FLOAT,
    "nll_conditioned": tables.FLOAT,
    "n_response": tables.INT,
    "n_conditioned": tables.INT,
    "ppl_response": tables.FLOAT,
    "ppl_conditioned": tables.FLOAT,
    "ifd": tables.FLOAT,
    "score_status": tables.TEXT,
    "score_reason": tables.TEXT,
}


@dataclass
class _Progress:
    """The progress bar, with rows per second and the number of rows without a score, by status.

    It counts tokens: the longest rows come first, so an estimate by rows would be too long.
    """

    bar: object
    rows: int = 0
    failures: Counter = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    def update(self, scores: dict[int, Score], tokens: int) -> None:
        self.rows += len(scores)
        self.failures.update(s.score_status for s in scores.values() if s.nll_response is None)
        seconds = time.monotonic() - self.started
        parts = [f"{self.rows:,} rows"]
        if seconds > 1:  # a rate over cached rows means nothing
            parts.append(f"{self.rows / seconds:,.1f} rows/s")
        parts += [f"{n:,} {status}" for status, n in self.failures.most_common()]
        self.bar.set_postfix_str(", ".join(parts), refresh=False)
        self.bar.update(tokens)


def _training_lengths(ds: datasets.Dataset, tokenizer, template: str) -> tuple[list[int], dict[int, str]]:
    """The tokens of each row as a training sample, and for each row that `template` refuses the reason."""
    lengths, refusals = [], {}
    template = prompts.resolve_template(tokenizer, template)
    for start in range(0, len(ds), _ROUND):
        rows = ds[start : start + _ROUND]
        questions = [question or "" for question in prompts.questions(rows, template)]
        responses = [text or "" for text in rows["response"]]
        samples = prompts.training_samples(tokenizer, questions, responses, template)
        lengths += [len(sample.input_ids) for sample in samples]
        refusals |= {start + i: sample.refusal for i, sample in enumerate(samples) if sample.refusal}
    return lengths, refusals


def _require_texts(ds: datasets.Dataset) -> None:
    tables.require(ds, ["instruction", "response"], "wb.load")
    for name in ("instruction", "response"):
        kind = ds.features[name]
        if getattr(kind, "dtype", None) not in ("string", "large_string", "null"):
            raise UserError(f"column {name!r} holds {kind}, not text; load the table with wb.load.")


@memory.released_from_gpu()
def score(
    ds: datasets.Dataset,
    model: str = "smollm2-135m",
    *,
    convention: str = "paper",
    prompt: str = "paper",
    variant: str = "ppl-ratio",
    min_tokens: int = 1,
    shrinkage: float = 0.0,
    dtype: str | None = None,
    device: str = "auto",
    max_length: int | None = None,
    template: str = "auto",
    token_budget: int | None = None,
    cache: bool = True,
) -> datasets.Dataset:
    """Add the Instruction-Following Difficulty of each row: PPL(response | instruction) / PPL(response).

    Implements section 3 of arXiv 2504.12687. High scores below 1 mark complex samples; from 1 on, the
    instruction hurts the prediction of the response.

    Parameters
    ----------
    model
        A short name, a local folder or a hub id; see `wb.models.load_model`.
    convention
        Which tokens are compared. "paper" reproduces the paper's released scorer to the digit. "same-tokens"
        scores the same tokens on both sides, with a BOS before the response alone.
    prompt
        The text before the response: "paper" (`Question: ... Answer:`) or "chat", the model's own chat
        template, which keeps the turns of a dialogue.
    variant, min_tokens, shrinkage
        See `wb.derive`, which applies other values later without scoring again.
    dtype
        "float32", "bfloat16", "float16" or "auto", which is bfloat16 if the device multiplies it natively and
        float32 otherwise. Default: float32 on a CPU, "auto" elsewhere. bfloat16 is faster and gives scores
        within a few percent of float32 in nearly the same order (tests/benchmarks/scoring.py measures both).
    device
        "auto" (CUDA, then MPS, then CPU) or the name of a PyTorch device.
    max_length
        Tokens per sequence; longer ones are truncated. Default: the context length of the model.
    template
        The training template, which decides `n_tokens`. A row that it refuses gets no score.
    token_budget
        Tokens per forward pass, halved when memory runs out. Changes speed and memory, never a score.
    cache
        Read and write results under `$WORKBENCH_CACHE` (default: the platform's cache folder). The key is the
        text of the row, the model's weights and the settings that affect a score, so results survive changes
        of the ratio, the clusters or the row order, and an interrupted call resumes where it stopped.

    Returns
    -------
    The table with these columns: `nll_response` and `nll_conditioned` (nats, summed over the scored tokens),
    `n_response` and `n_conditioned` (scored tokens), `ppl_response`, `ppl_conditioned`, `ifd`, `score_status`
    ("ok", "truncated", "no_target", "empty", "not_text", "refused", "out_of_memory" or "not_finite"),
    `score_reason` (None if "ok") and `n_tokens` (length of the row as a training sample, 0 if the chat
    template refuses the row). A row that cannot be scored has None in place of each nll, perplexity and
    `ifd`. The settings are in `tables.noted(ds, "score")`.

    Raises
    ------
    UserError
        If a setting is invalid, the table has no text columns `instruction` and `response`, the model cannot
        be loaded, its tokenizer lacks the chat template or special token that a setting needs, or its chat
        template refuses every row.
    """
    one_of("convention", convention, CONVENTIONS)
    one_of("prompt", prompt, prompts.SCORING_PROMPTS)
    variants.check(variant, min_tokens, shrinkage)
    for name, value in (("max_length", max_length), ("token_budget", token_budget)):
        if value is not None:
            positive(name, value)
    _require_texts(ds)
    device = models.pick_device(device)
    if dtype is None:
        dtype = "float32" if device == "cpu" else "auto"
    dtype = models.dtype_name(dtype, device)
    max_length = max_length or models.context_length(model)
    budget = token_budget or TOKEN_BUDGET[device.split(":")[0]]
    scorer = RowScorer(ScorerSettings(str(model), convention, prompt, dtype, device, max_length, budget))
    key_settings = [models.fingerprint(model), convention, prompt, precision(dtype, device), max_length]
    key_settings += TOKENS_VERSION[convention]
    score_cache = ScoreCache(key_settings, prompt, Store("ifd") if cache else None)
    lengths, refusals = _training_lengths(ds, scorer.tokenizer, template)
    scores = _score_rows(ds, scorer, score_cache, lengths, refusals)
    cells = [row_score.columns(max_length) for row_score in scores]
    columns = {name: [row.get(name) for row in cells] for name in FEATURES}
    features = FEATURES | {"n_tokens": tables.INT}
    scored = tables.with_columns(ds, columns | {"n_tokens": lengths}, features)
    settings = {"model": str(model), "convention": convention, "prompt": prompt, "dtype": dtype}
    scored = tables.note(scored, "score", settings | {"max_length": max_length, "template": template})
    return variants.derive(scored, variant, min_tokens=min_tokens, shrinkage=shrinkage)


def _score_rows(
    ds: datasets.Dataset,
    scorer: RowScorer,
    cache: ScoreCache,
    lengths: list[int],
    refusals: dict[int, str],
) -> list[Score]:
    scores = [refused(refusals[row]) if row in refusals else EMPTY for row in range(len(ds))]
    with progress.bar(sum(lengths), "score", unit="token") as bar, memory.reuse_freed_memory():
        shown = _Progress(bar)
        for start in range(0, len(ds), _ROUND):
            accepted = [row for row in range(start, min(start + _ROUND, len(ds))) if row not in refusals]
            for batch in cached.scores(ds[accepted], scorer, cache):
                for i, row_score in batch.items():
                    scores[accepted[i]] = row_score
                shown.update(batch, sum(lengths[accepted[i]] for i in batch))
    if scores and all(row_score.score_status == "refused" for row_score in scores):
        raise UserError(f"none of the {len(ds)} rows can be scored: {scores[0].refusal}.")
    return scores

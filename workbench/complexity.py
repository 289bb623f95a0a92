"""Instruction-Following Difficulty (IFD): how little an instruction helps a model to predict its response.

    IFD = PPL(response | instruction) / PPL(response)          (arXiv 2504.12687, section 3)

Just below 1 the instruction hardly helps: the sample is complex. From 1 on it hurts, and selection leaves the
sample out. What is kept of a row are summed negative log-likelihoods and token counts, from which the ratios
are derived; a row that cannot be scored has a status and no number.
"""

import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import datasets
import torch

from . import forward, models, progress, prompts, tables
from .batching import flat_batches
from .errors import one_of, positive
from .prompts import Sample
from .store import Store, digest

CONVENTIONS = ("paper",)
# Tokens of one forward pass. A CPU gains nothing from more once its cores are busy; a GPU does.
TOKEN_BUDGET = {"cpu": 2048, "mps": 4096, "cuda": 16384}
_ROUND = 1024  # rows tokenized and looked up at once, so that memory stays flat in the number of rows

# What a row is found to be on every machine; the other statuses are failures, tried again by the next call.
_LASTING = ("ok", "truncated", "no_target")

FEATURES = {
    "nll_response": tables.FLOAT,
    "nll_conditioned": tables.FLOAT,
    "n_response": tables.INT,
    "n_conditioned": tables.INT,
    "ppl_response": tables.FLOAT,
    "ppl_conditioned": tables.FLOAT,
    "ifd": tables.FLOAT,
    "score_status": tables.TEXT,
}


@dataclass(frozen=True)
class Score:
    """What is stored of a row: nll in nats, summed over the tokens that were scored.

    `score_status` is "ok", "truncated" (scored on the part that fits `max_length`), "no_target" (no token of
    the response to score), "out_of_memory" or "not_finite"; the last three carry no number.
    """

    nll_response: float | None
    nll_conditioned: float | None
    n_response: int
    n_conditioned: int
    score_status: str

    def columns(self) -> dict:
        """The row's cells in the table, perplexities and IFD derived."""
        cells = asdict(self)
        if self.nll_response is None or self.nll_conditioned is None:
            return cells | {"ppl_response": None, "ppl_conditioned": None, "ifd": None}
        alone = self.nll_response / self.n_response
        conditioned = self.nll_conditioned / self.n_conditioned
        return cells | {
            "ppl_response": math.exp(alone),
            "ppl_conditioned": math.exp(conditioned),
            "ifd": math.exp(conditioned - alone),
        }


@dataclass(frozen=True)
class _Pair:
    """A row's two sequences: the bare response, and prompt + response."""

    alone: Sample
    conditioned: Sample
    truncated: bool

    @property
    def scorable(self) -> bool:
        return self.alone.n_targets > 0 and self.conditioned.n_targets > 0

    def score(
        self, nll_alone: float | None, nll_conditioned: float | None, status: str | None = None
    ) -> Score:
        status = status or ("truncated" if self.truncated else "ok")
        counts = self.alone.n_targets, self.conditioned.n_targets
        return Score(nll_alone, nll_conditioned, *counts, status)


def paper_pairs(tokenizer, instructions, responses, max_length: int) -> list[_Pair]:
    """The sequences that the paper's released scorer compares.

    Prompt + response is tokenized as ONE string, cut to `max_length`, and scored from token `end` on, where
    `end` counts the tokens of the prompt alone. The bare response is cut to `max_length - end + 1` tokens and
    scored from its second token on (with a tokenizer that puts a BOS in front, that is the response's first).
    """
    asked = [prompts.scoring_prompt(text) for text in instructions]
    together = [prompt + response for prompt, response in zip(asked, responses, strict=True)]
    pairs = []
    for prompt, bare, joint in zip(
        tokenizer(asked).input_ids,
        tokenizer(list(responses)).input_ids,
        tokenizer(together).input_ids,
        strict=True,
    ):
        end = min(len(prompt), max_length)
        kept = bare[: max_length - end + 1]
        alone, conditioned = Sample(tuple(kept), 1), Sample(tuple(joint[:max_length]), end)
        pairs.append(_Pair(alone, conditioned, len(kept) < len(bare) or len(joint) > max_length))
    return pairs


def _score_pairs(model, pairs: Sequence[_Pair], token_budget: int) -> Iterator[dict[int, Score]]:
    """Scores by position in `pairs`, a forward pass at a time."""
    unscorable = {i: pair.score(None, None, "no_target") for i, pair in enumerate(pairs) if not pair.scorable}
    if unscorable:
        yield unscorable
    todo = [i for i, pair in enumerate(pairs) if pair.scorable]
    groups = [(pairs[i].alone, pairs[i].conditioned) for i in todo]
    waiting = list(flat_batches(groups, token_budget))[::-1]
    while waiting:
        batch = waiting.pop()
        try:
            sums = forward.summed_nll(model, [sample for at in batch for sample in groups[at]])
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                yield {todo[batch[0]]: pairs[todo[batch[0]]].score(None, None, "out_of_memory")}
            else:  # the same rows in two halves
                waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
            continue
        scores = {}
        for at, alone, conditioned in zip(batch, sums[0::2], sums[1::2], strict=True):
            finite = math.isfinite(alone) and math.isfinite(conditioned)
            found = (alone, conditioned) if finite else (None, None, "not_finite")
            scores[todo[at]] = pairs[todo[at]].score(*found)
        yield scores


def _training_lengths(ds: datasets.Dataset, tokenizer, template: str) -> list[int]:
    lengths = []
    for start in range(0, len(ds), _ROUND):
        rows = ds[start : start + _ROUND]
        samples = prompts.training_samples(tokenizer, rows["instruction"], rows["response"], template)
        lengths += [len(sample.input_ids) for sample in samples]
    return lengths


@dataclass(frozen=True)
class _Scorer:
    """Scores rows, from the store where they are there. `load` gives the model, when a row first needs it."""

    load: Callable
    tokenizer: object
    max_length: int
    token_budget: int
    settings: list  # all that a score depends on beside the row's text
    store: Store | None

    def __call__(self, instructions: list[str], responses: list[str]) -> Iterator[dict[int, Score]]:
        """Scores by position, known ones first and the others as they come, stored already."""
        texts = list(zip(instructions, responses, strict=True))
        keys = [digest(self.settings, *text) for text in texts]
        known = self.store.get(keys) if self.store else {}
        yield {i: Score(**json.loads(known[key])) for i, key in enumerate(keys) if key in known}
        todo = [i for i, key in enumerate(keys) if key not in known]
        if not todo:
            return
        asked, answered = zip(*(texts[i] for i in todo), strict=True)
        pairs = paper_pairs(self.tokenizer, asked, answered, self.max_length)
        for found in _score_pairs(self.load(), pairs, self.token_budget):
            scores = {todo[at]: score for at, score in found.items()}
            if self.store:
                lasting = {keys[i]: s for i, s in scores.items() if s.score_status in _LASTING}
                self.store.put({key: json.dumps(asdict(s)).encode() for key, s in lasting.items()})
            yield scores


def score(
    ds: datasets.Dataset,
    model: str = "smollm2-135m",
    *,
    convention: str = "paper",
    dtype: str = "float32",
    device: str = "auto",
    max_length: int | None = None,
    template: str = "auto",
    token_budget: int | None = None,
    cache: bool = True,
) -> datasets.Dataset:
    """Add each row's IFD and what it derives from (`FEATURES`), and `n_tokens`, its length in training.

    Rows already scored by these very weights, text and settings are read from the store; the others are
    stored as they come, so an interrupted call goes on where it stopped. `cache=False` does neither.

    `dtype="auto"` is bfloat16 where the device has it: faster than float32, within some percent of its scores
    and in nearly the same order. `max_length` (tokens) defaults to the model's context. `token_budget` is the
    size of one forward pass; it changes speed and memory, never a score. `template` is that of the training.
    """
    one_of("convention", convention, CONVENTIONS)
    tables.require(ds, ["instruction", "response"], "wb.load")
    for name, value in (("max_length", max_length), ("token_budget", token_budget)):
        if value is not None:
            positive(name, value)
    device = models.pick_device(device)
    dtype = models.dtype_name(dtype, device)
    tokenizer = models.load_tokenizer(model)
    max_length = max_length or models.context_length(model)
    scorer = _Scorer(
        load=functools.cache(lambda: models.load_model(model, dtype, device)[0]),
        tokenizer=tokenizer,
        max_length=max_length,
        token_budget=token_budget or TOKEN_BUDGET[device.split(":")[0]],
        settings=[models.fingerprint(model), convention, dtype, max_length],
        store=Store("ifd") if cache else None,
    )
    lengths = _training_lengths(ds, tokenizer, template)
    scores: list[Score | None] = [None] * len(ds)
    # Counted in tokens: the longest rows come first, so a rate of rows would promise too long a wait.
    with progress.bar(sum(lengths), "score", unit="token") as bar:
        for start in range(0, len(ds), _ROUND):
            rows = ds[start : start + _ROUND]
            for found in scorer(rows["instruction"], rows["response"]):
                for at, row_score in found.items():
                    scores[start + at] = row_score
                bar.update(sum(lengths[start + at] for at in found))
    cells = [row_score.columns() for row_score in scores]
    columns = {name: [row[name] for row in cells] for name in FEATURES}
    return tables.with_columns(ds, columns | {"n_tokens": lengths}, FEATURES | {"n_tokens": tables.INT})

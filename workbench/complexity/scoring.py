"""`score`: a table's rows through the store or the model, with a status and a reason for each."""

import functools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain

import datasets

from ..core import memory, progress, tables
from ..core.errors import UserError, one_of, positive
from ..core.store import Store, digest
from ..lm import models, prompts
from ..lm.prompts import Question
from . import variants
from .engine import TOKEN_BUDGET, Engine, Sums
from .pairs import CONVENTIONS, Pair, pairs

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
    "score_reason": tables.TEXT,
}


@dataclass(frozen=True)
class Score:
    """What is stored of a row: nll in nats, summed over the tokens that were scored.

    `score_status` is "ok", "truncated" (scored on the part that fits `max_length`), "no_target" (no token of
    the response to compare), "empty" (no instruction or no response), "out_of_memory" or "not_finite"; the
    last four carry no number.
    """

    nll_response: float | None
    nll_conditioned: float | None
    n_response: int
    n_conditioned: int
    score_status: str

    def columns(self, max_length: int) -> dict:
        """The row's cells in the table; `ifd` is left to `variants.derive`."""
        scored = self.nll_response is not None and self.nll_conditioned is not None
        return asdict(self) | {
            "ppl_response": math.exp(self.nll_response / self.n_response) if scored else None,
            "ppl_conditioned": math.exp(self.nll_conditioned / self.n_conditioned) if scored else None,
            "score_reason": self._reason(max_length),
        }

    def _reason(self, max_length: int) -> str | None:
        if self.score_status == "no_target" and not self.n_conditioned:
            return f"its prompt alone fills max_length={max_length} tokens"
        return {
            "ok": None,
            "truncated": f"longer than max_length={max_length} tokens: scored on the part that fits",
            "no_target": "its response is one token, which without the instruction follows nothing",
            "empty": "its instruction or its response is missing or has no visible character",
            "out_of_memory": "does not fit the memory even in a batch of its own",
            "not_finite": "the model gave an infinite or undefined probability",
        }[self.score_status]


_EMPTY = Score(None, None, 0, 0, "empty")


def _as_score(pair: Pair, sums: Sums) -> Score:
    status = sums.failure or ("truncated" if pair.truncated else "ok")
    return Score(sums.alone, sums.conditioned, pair.alone.n_targets, pair.conditioned.n_targets, status)


@dataclass
class _Scorer:
    """Scores rows, from the store where they are there; `engine` loads the model when a row needs it."""

    engine: Callable[[], Engine]
    pairs: Callable[[list[Question], list[str]], list[Pair]]
    settings: list  # all that a score depends on beside the row's text
    store: Store | None

    def __call__(self, questions: list[Question], responses: list[str]) -> Iterator[dict[int, Score]]:
        """Scores by position, known ones first and the others as they come, stored already."""
        texts = list(zip(questions, responses, strict=True))
        keys = [digest(self.settings, *text) for text in texts]
        known = self.store.get(keys) if self.store else {}
        found = {i: Score(**json.loads(known[key])) for i, key in enumerate(keys) if key in known}
        found |= {i: _EMPTY for i, text in enumerate(texts) if not all(map(_says_something, text))}
        yield found
        todo = [i for i in range(len(texts)) if i not in found]
        if not todo:
            return
        made = self.pairs([questions[i] for i in todo], [responses[i] for i in todo])
        nothing = Sums(None, None, "no_target")
        without = {at: nothing for at, pair in enumerate(made) if not pair.scorable}
        for sums in chain([without], self.engine()(made) if len(without) < len(made) else ()):
            yield self._stored(keys, {todo[at]: _as_score(made[at], found) for at, found in sums.items()})

    def _stored(self, keys: list[str], scores: dict[int, Score]) -> dict[int, Score]:
        """`scores`, kept for the next call where they will be the same."""
        lasting = {keys[i]: s for i, s in scores.items() if s.score_status in _LASTING}
        if self.store and lasting:
            self.store.put({key: json.dumps(asdict(s)).encode() for key, s in lasting.items()})
        return scores


def _says_something(text: Question | None) -> bool:
    if isinstance(text, list):
        return any(_says_something(turn["content"]) for turn in text)
    return bool(text and text.strip())


@dataclass
class _Progress:
    """The bar: tokens done, because the longest rows come first and a rate of rows would promise too long a
    wait; beside it rows a second and the rows without a score, by reason."""

    bar: object
    rows: int = 0
    without: Counter = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    def update(self, scores: dict[int, Score], tokens: int) -> None:
        self.rows += len(scores)
        self.without.update(s.score_status for s in scores.values() if s.nll_response is None)
        seconds = time.monotonic() - self.started
        told = [f"{self.rows:,} rows"]
        if seconds > 1:  # what is read from the store has no rate worth telling
            told.append(f"{self.rows / seconds:,.1f} rows/s")
        told += [f"{n:,} {status}" for status, n in self.without.most_common()]
        self.bar.set_postfix_str(", ".join(told), refresh=False)
        self.bar.update(tokens)


def questions_of(rows: dict, prompt: str) -> list[Question]:
    """What each row asks: its dialogue where the prompt can show one, else its instruction."""
    if prompt != "chat" or "dialogue" not in rows:
        return rows["instruction"]
    return [turns or text for text, turns in zip(rows["instruction"], rows["dialogue"], strict=True)]


def _training_lengths(ds: datasets.Dataset, tokenizer, template: str) -> list[int]:
    lengths = []
    for start in range(0, len(ds), _ROUND):
        rows = ds[start : start + _ROUND]
        instructions, responses = (
            [text or "" for text in rows[name]] for name in ("instruction", "response")
        )
        samples = prompts.training_samples(tokenizer, instructions, responses, template)
        lengths += [len(sample.input_ids) for sample in samples]
    return lengths


def _require_texts(ds: datasets.Dataset) -> None:
    tables.require(ds, ["instruction", "response"], "wb.load")
    for name in ("instruction", "response"):
        kind = ds.features[name]
        if getattr(kind, "dtype", None) not in ("string", "large_string", "null"):
            raise UserError(f"column {name!r} holds {kind}, not text; make the table with wb.load.")


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
    """Add each row's IFD and what it derives from (`FEATURES`), and `n_tokens`, its length in training.

    Rows already scored by these very weights, text and settings are read from the store; the others are
    stored as they come, so an interrupted call goes on where it stopped. `cache=False` does neither.

    `convention` says which tokens are compared: "paper", to the digit as the paper's released scorer, or
    "same-tokens", the same ones on both sides, the bare response after a BOS. `prompt` is the text before the
    response: "paper", or "chat", the model's own template, in which a dialogue keeps its turns. `variant`,
    `min_tokens` and `shrinkage` are those of `derive` and need no scoring again.

    `dtype` is float32 on a CPU, and "auto" elsewhere, unless given: bfloat16 where the device has it, which
    is faster, within some percent of float32's scores and in nearly the same order. `max_length` (tokens)
    defaults to the model's context. `token_budget` is the size of one forward pass, halved when the memory
    does not suffice; it changes speed and memory, never a score. `template` is that of the training. All
    that a score depends on is noted: `tables.noted(ds, "score")`.
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
    tokenizer = models.load_tokenizer(model)
    max_length = max_length or models.context_length(model)
    budget = token_budget or TOKEN_BUDGET[device.split(":")[0]]
    scorer = _Scorer(
        engine=functools.cache(lambda: Engine(models.load_model(model, dtype, device)[0], budget)),
        pairs=lambda asked, answered: pairs(tokenizer, asked, answered, max_length, convention, prompt),
        settings=[models.fingerprint(model), convention, prompt, dtype, max_length],
        store=Store("ifd") if cache else None,
    )
    lengths = _training_lengths(ds, tokenizer, template)
    scores = _score_rows(ds, scorer, lengths, prompt)
    cells = [row_score.columns(max_length) for row_score in scores]
    columns = {name: [row.get(name) for row in cells] for name in FEATURES}
    features = FEATURES | {"n_tokens": tables.INT}
    scored = tables.with_columns(ds, columns | {"n_tokens": lengths}, features)
    made = {"model": str(model), "convention": convention, "prompt": prompt, "dtype": dtype}
    scored = tables.note(scored, "score", made | {"max_length": max_length, "template": template})
    return variants.derive(scored, variant, min_tokens=min_tokens, shrinkage=shrinkage)


def _score_rows(ds: datasets.Dataset, scorer: _Scorer, lengths: list[int], prompt: str) -> list[Score]:
    scores: list[Score] = [_EMPTY] * len(ds)
    with progress.bar(sum(lengths), "score", unit="token") as bar, memory.reuse_freed_memory():
        shown = _Progress(bar)
        for start in range(0, len(ds), _ROUND):
            rows = ds[start : start + _ROUND]
            for found in scorer(questions_of(rows, prompt), rows["response"]):
                for at, row_score in found.items():
                    scores[start + at] = row_score
                shown.update(found, sum(lengths[start + at] for at in found))
    return scores

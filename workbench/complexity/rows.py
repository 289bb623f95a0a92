"""The score of each row, from the cache or from the model."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain

from ..core.store import Store, digest
from ..lm.chat import TemplateRefusal
from ..lm.prompts import Question
from .engine import Engine, Sums
from .pairs import Pair

# Statuses that are the same on every machine and so are cached. Other failures are tried again next time.
_CACHED = ("ok", "truncated", "no_target")
_MAX_NLL = math.log(sys.float_info.max)  # nats per token, beyond which the perplexity is no float


@dataclass(frozen=True)
class Score:
    """The cached result of a row: nll in nats, summed over the scored tokens, and their numbers.

    `score_status` is "ok", "truncated" (scored on the part that fits `max_length`), "no_target" (no response
    token to compare), "empty" (no instruction or no response), "refused" (by the chat template, for the
    reason in `refusal`), "out_of_memory" or "not_finite". With the last five, both sums are None.
    """

    nll_response: float | None
    nll_conditioned: float | None
    n_response: int
    n_conditioned: int
    score_status: str
    refusal: str | None = None

    def columns(self, max_length: int) -> dict:
        """The cells of `FEATURES` for this row, except `ifd`, which `variants.derive` computes."""
        scored = self.nll_response is not None and self.nll_conditioned is not None
        return asdict(self) | {
            "ppl_response": math.exp(self.nll_response / self.n_response) if scored else None,
            "ppl_conditioned": math.exp(self.nll_conditioned / self.n_conditioned) if scored else None,
            "score_reason": self._reason(max_length),
        }

    def _reason(self, max_length: int) -> str | None:
        if self.score_status == "no_target" and not self.n_conditioned:
            return f"the prompt alone fills max_length={max_length} tokens"
        return {
            "ok": None,
            "truncated": f"longer than max_length={max_length} tokens; scored on the part that fits",
            "no_target": "the response is a single token, which has no context without the instruction",
            "empty": "the instruction or the response is missing or blank",
            "refused": self.refusal,
            "out_of_memory": "the row does not fit the memory even alone",
            "not_finite": "the model gave a probability or perplexity that is infinite or undefined",
        }[self.score_status]


EMPTY = Score(None, None, 0, 0, "empty")


def refused(reason: str) -> Score:
    """The score of a row that a chat template refuses."""
    return Score(None, None, 0, 0, "refused", reason)


def _as_score(pair: Pair, sums: Sums) -> Score:
    status = sums.failure or ("truncated" if pair.truncated else "ok")
    n_targets = pair.alone.n_targets, pair.conditioned.n_targets
    return _with_finite_perplexity(Score(sums.alone, sums.conditioned, *n_targets, status))


def _with_finite_perplexity(score: Score) -> Score:
    """`score`, or one with the status "not_finite" if a perplexity exceeds the range of floats."""
    sides = ((score.nll_response, score.n_response), (score.nll_conditioned, score.n_conditioned))
    if all(nll is None or nll / n <= _MAX_NLL for nll, n in sides):
        return score
    return replace(score, nll_response=None, nll_conditioned=None, score_status="not_finite")


@dataclass
class Scorer:
    """Scores rows from the cache, or with the model, which `engine` loads when the first row needs it."""

    engine: Callable[[], Engine]
    pairs: Callable[[list[Question], list[str]], list[Pair | TemplateRefusal]]
    settings: list  # everything a score depends on besides the text of the row
    store: Store | None

    def __call__(self, questions: list[Question], responses: list[str]) -> Iterator[dict[int, Score]]:
        """Yield scores by row index: cached ones first, then each batch as soon as it is cached."""
        texts = list(zip(questions, responses, strict=True))
        keys = [digest(self.settings, *text) for text in texts]
        cached = self.store.get(keys) if self.store else {}
        scores = {
            i: _with_finite_perplexity(Score(**json.loads(cached[key])))
            for i, key in enumerate(keys)
            if key in cached
        }
        scores |= {i: EMPTY for i, text in enumerate(texts) if any(map(_is_blank, text))}
        yield scores
        todo = [i for i in range(len(texts)) if i not in scores]
        if not todo:
            return
        pairs = self.pairs([questions[i] for i in todo], [responses[i] for i in todo])
        refusals = {i: pair for i, pair in zip(todo, pairs, strict=True) if isinstance(pair, TemplateRefusal)}
        yield {i: refused(refusal.reason) for i, refusal in refusals.items()}
        todo, pairs = [i for i in todo if i not in refusals], [p for p in pairs if isinstance(p, Pair)]
        no_target = Sums(None, None, "no_target")
        unscorable = {position: no_target for position, pair in enumerate(pairs) if not pair.scorable}
        batches = self.engine()(pairs) if len(unscorable) < len(pairs) else ()
        for batch in chain([unscorable], batches):
            scores = {todo[i]: _as_score(pairs[i], sums) for i, sums in batch.items()}
            self._cache(keys, scores)
            yield scores

    def _cache(self, keys: list[str], scores: dict[int, Score]) -> None:
        lasting = {keys[i]: s for i, s in scores.items() if s.score_status in _CACHED}
        if self.store and lasting:
            self.store.put({key: json.dumps(asdict(s)).encode() for key, s in lasting.items()})


def _is_blank(text: Question | None) -> bool:
    if isinstance(text, list):
        return all(_is_blank(turn["content"]) for turn in text)
    return not (text and text.strip())

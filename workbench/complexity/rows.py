"""The score of one row: sums, counts, a status, and the reason for a status without a score."""

import math
import sys
from dataclasses import asdict, dataclass, replace

from .engine import Sums
from .pairs import Pair

_MAX_NLL = math.log(sys.float_info.max)  # nats per token, beyond which the perplexity is no float


@dataclass(frozen=True)
class Score:
    """The cached result of a row: nll in nats, summed over the scored tokens, and their numbers.

    `score_status` is "ok", "truncated" (scored on the part that fits `max_length`), "no_target" (no response
    token to compare), "empty" (no instruction or no response), "not_text" (UTF-8 cannot encode one of them),
    "refused" (by the chat template, for the reason in `refusal`), "out_of_memory" or "not_finite". With the
    last six, both sums are None.
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
            "not_text": "the instruction or the response is no text that UTF-8 can encode",
            "out_of_memory": "the row does not fit the memory even alone",
            "not_finite": "the model gave a probability or perplexity that is infinite or undefined",
        }[self.score_status]


EMPTY = Score(None, None, 0, 0, "empty")
NOT_TEXT = Score(None, None, 0, 0, "not_text")


def refused(reason: str) -> Score:
    """The score of a row that a chat template refuses."""
    return Score(None, None, 0, 0, "refused", reason)


def as_score(pair: Pair, sums: Sums) -> Score:
    """The score of a row from the sums of its pair."""
    status = sums.failure or ("truncated" if pair.truncated else "ok")
    n_targets = pair.alone.n_targets, pair.conditioned.n_targets
    return with_finite_perplexity(Score(sums.alone, sums.conditioned, *n_targets, status))


def with_finite_perplexity(score: Score) -> Score:
    """`score`, or one with the status "not_finite" if a perplexity exceeds the range of floats."""
    sides = ((score.nll_response, score.n_response), (score.nll_conditioned, score.n_conditioned))
    if all(nll is None or nll / n <= _MAX_NLL for nll, n in sides):
        return score
    return replace(score, nll_response=None, nll_conditioned=None, score_status="not_finite")

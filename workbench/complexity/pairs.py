"""The two sequences that a row's score compares: the bare response, and the response after its prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.errors import UserError
from ..lm import prompts
from ..lm.prompts import Sample


@dataclass(frozen=True)
class Pair:
    """A row's sequences; `truncated` when `max_length` cut one of them."""

    alone: Sample
    conditioned: Sample
    truncated: bool

    @property
    def scorable(self) -> bool:
        return self.alone.n_targets > 0 and self.conditioned.n_targets > 0

    @property
    def n_tokens(self) -> int:
        return len(self.alone.input_ids) + len(self.conditioned.input_ids)


def paper(tokenizer, asked: Sequence[str], responses: Sequence[str], max_length: int, special: bool):
    """As the paper's released scorer compares them.

    Prompt + response is tokenized as ONE string, cut to `max_length`, and scored from token `end` on, where
    `end` counts the tokens of the prompt alone. The bare response is cut to `max_length - end + 1` tokens and
    scored from its second token on (with a tokenizer that puts a BOS in front, that is the response's first).
    """
    together = [prompt + response for prompt, response in zip(asked, responses, strict=True)]
    for prompt, bare, joint in zip(
        tokenizer(list(asked), add_special_tokens=special).input_ids,
        tokenizer(list(responses)).input_ids,
        tokenizer(together, add_special_tokens=special).input_ids,
        strict=True,
    ):
        end = min(len(prompt), max_length)
        kept = bare[: max_length - end + 1]
        alone, conditioned = Sample(tuple(kept), 1), Sample(tuple(joint[:max_length]), end)
        yield Pair(alone, conditioned, len(kept) < len(bare) or len(joint) > max_length)


def same_tokens(tokenizer, asked: Sequence[str], responses: Sequence[str], max_length: int, special: bool):
    """Both sides score the very same tokens: the response is tokenized once, and in the bare sequence a BOS
    (the end-of-sequence token where the tokenizer has none) stands in front of its first token."""
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise UserError(
            f"convention='same-tokens': the tokenizer of {tokenizer.name_or_path!r} has neither a BOS nor an "
            f"end-of-sequence token to put before the bare response; use convention='paper'."
        )
    for prompt, response in zip(
        tokenizer(list(asked), add_special_tokens=special).input_ids,
        tokenizer(list(responses), add_special_tokens=False).input_ids,
        strict=True,
    ):
        prompt = prompt[:max_length]
        kept = response[: max_length - len(prompt)]
        conditioned = Sample((*prompt, *kept), max(1, len(prompt)))
        yield Pair(Sample((start, *kept), 1), conditioned, len(kept) < len(response))


CONVENTIONS: dict[str, Callable] = {"paper": paper, "same-tokens": same_tokens}


def pairs(
    tokenizer,
    questions: Sequence[prompts.Question],
    responses: Sequence[str],
    max_length: int,
    convention: str = "paper",
    prompt: str = "paper",
) -> list[Pair]:
    """A `Pair` for each row; `prompt` is a name in `prompts.SCORING_PROMPTS`."""
    asked = prompts.scoring_prompts(tokenizer, questions, prompt)
    # A chat template writes its special tokens itself.
    special = prompt == "paper"
    return list(CONVENTIONS[convention](tokenizer, asked, list(responses), max_length, special))

"""The two sequences that a score compares: the response alone, and the response after its prompt."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..core.errors import UserError
from ..lm import prompts, tokenization
from ..lm.prompts import Sample


@dataclass(frozen=True)
class Pair:
    """The two sequences of a row. `truncated` is True if `max_length` shortens one of them."""

    alone: Sample
    conditioned: Sample
    truncated: bool

    @property
    def scorable(self) -> bool:
        return self.alone.n_targets > 0 and self.conditioned.n_targets > 0

    @property
    def n_tokens(self) -> int:
        return len(self.alone.input_ids) + len(self.conditioned.input_ids)


def paper(
    tokenizer, prompt_texts: Sequence[str], responses: Sequence[str], max_length: int, special: bool
) -> Iterator[Pair]:
    """The pairs of the paper's released scorer (arXiv 2504.12687, section 3).

    Prompt + response is tokenized as one string, truncated to `max_length`, and scored from token `end` on,
    where `end` counts the tokens of the prompt alone. The response alone is truncated to
    `max_length - end + 1` tokens and scored from its second token on, which is the response's first if the
    tokenizer adds a BOS. As in that scorer, special tokens are added by the tokenizer's default, an EOS
    included, and those spelled in a text are read as such.
    """
    joined = [prompt + response for prompt, response in zip(prompt_texts, responses, strict=True)]
    for prompt_ids, response_ids, joined_ids in zip(
        tokenizer(list(prompt_texts), add_special_tokens=special).input_ids,
        tokenizer(list(responses)).input_ids,
        tokenizer(joined, add_special_tokens=special).input_ids,
        strict=True,
    ):
        end = min(len(prompt_ids), max_length)
        kept = response_ids[: max_length - end + 1]
        alone, conditioned = Sample(tuple(kept), 1), Sample(tuple(joined_ids[:max_length]), end)
        yield Pair(alone, conditioned, len(kept) < len(response_ids) or len(joined_ids) > max_length)


def same_tokens(
    tokenizer, prompt_texts: Sequence[str], responses: Sequence[str], max_length: int, special: bool
) -> Iterator[Pair]:
    """Pairs whose two sides score the same tokens.

    The response is tokenized once, as it stands after its prompt. On its own it follows a BOS, or the
    end-of-sequence token if the tokenizer has no BOS, so that its first token is scored too. Special tokens
    spelled in a text stay text, and no EOS follows a prompt. Raises UserError if the tokenizer has neither
    BOS nor end-of-sequence token.
    """
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise UserError(
            f"convention='same-tokens': the tokenizer of {tokenizer.name_or_path!r} has neither a BOS nor an "
            f"end-of-sequence token to put before the response; use convention='paper'."
        )
    if special:
        all_prompt_ids = tokenization.encode_prompts(tokenizer, prompt_texts)
    else:
        all_prompt_ids = tokenizer(list(prompt_texts), add_special_tokens=False).input_ids
    all_response_ids = tokenization.encode_continuations(tokenizer, responses)
    for prompt_ids, response_ids in zip(all_prompt_ids, all_response_ids, strict=True):
        prompt_ids = prompt_ids[:max_length]
        kept = response_ids[: max_length - len(prompt_ids)]
        conditioned = Sample((*prompt_ids, *kept), max(1, len(prompt_ids)))
        yield Pair(Sample((start, *kept), 1), conditioned, len(kept) < len(response_ids))


CONVENTIONS: dict[str, Callable] = {"paper": paper, "same-tokens": same_tokens}
# Part of the key of a cached score; a change of a convention's tokens takes another value.
TOKENS_VERSION = {"paper": [], "same-tokens": [2]}


def pairs(
    tokenizer,
    questions: Sequence[prompts.Question],
    responses: Sequence[str],
    max_length: int,
    convention: str = "paper",
    prompt: str = "paper",
) -> list[Pair]:
    """The `Pair` of each row. `convention` is a key of `CONVENTIONS`, `prompt` one of `SCORING_PROMPTS`."""
    prompt_texts = prompts.scoring_prompts(tokenizer, questions, prompt)
    # A chat template contains its special tokens.
    special = prompt == "paper"
    return list(CONVENTIONS[convention](tokenizer, prompt_texts, list(responses), max_length, special))

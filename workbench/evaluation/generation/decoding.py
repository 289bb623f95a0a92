"""Prompts -> what a model writes after them, in batches that shrink as their texts end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from ...core import memory
from ...core.errors import UserError, positive
from ...core.store import digest
from .kv_cache import kv_cache

_TAIL = 24  # last tokens that are searched for a stop string: more than any of them has
_TOKENS = 2**15  # in the keys and values of a batch, were all its texts as long as they may be
_BEFORE = 4  # tokens of the prompt that are decoded along with what follows it
_DONE = 8  # a batch goes on without its finished texts once these are an eighth of it


@dataclass(frozen=True)
class Decoding:
    """How texts are written: greedily, or (`temperature` above 0) drawn from the most likely tokens that
    together have probability `top_p`. A text ends with the tokenizer's end-of-sequence, before the first of
    the strings `stop`, or after `max_new_tokens`."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self):
        positive("max_new_tokens", self.max_new_tokens)
        if not self.temperature >= 0:
            raise UserError(f"temperature={self.temperature!r} must be 0 (greedy) or above.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p!r} must be above 0 and at most 1.")

    def cut(self, text: str) -> str:
        """`text` up to its first stop string."""
        return text[: min((at for stop in self.stop if (at := text.find(stop)) >= 0), default=len(text))]


@dataclass
class _Text:
    """One text in the making; `place` is where its prompt stands among all."""

    place: int
    prompt: list[int]
    draws: torch.Generator | None
    written: int | None = None  # tokens up to its end, once it has one


class _Draws(LogitsProcessor):
    """Turns the likeliest token into one drawn at random: the largest of logits plus Gumbel noise is a draw
    from their softmax. Each text has its own noise, so it does not depend on what shares its batch."""

    def __init__(self, texts: list[_Text], decoding: Decoding):
        self.draws = [text.draws for text in texts]
        self.warps = [TemperatureLogitsWarper(float(decoding.temperature))]
        if decoding.top_p < 1:
            self.warps.append(TopPLogitsWarper(decoding.top_p))

    def __call__(self, input_ids, scores):
        for warp in self.warps:
            scores = warp(input_ids, scores)
        n = scores.shape[-1]
        noise = torch.stack([torch.empty(n).exponential_(generator=draws) for draws in self.draws])
        return scores - noise.log().to(scores.device)


class _Ends(StoppingCriteria):
    """Notes where texts end, and ends a round once enough of them have."""

    def __init__(self, texts: list[_Text], width: int, tokenizer, eos: set[int], decoding: Decoding):
        self.texts, self.width, self.tokenizer, self.eos = texts, width, tokenizer, eos
        self.decoding = decoding
        self.enough = max(1, len(texts) // _DONE)

    def __call__(self, input_ids, scores, **kwargs):
        written = input_ids.shape[1] - self.width
        tails = input_ids[:, self.width :][:, -_TAIL:].tolist()
        going = [row for row, text in enumerate(self.texts) if text.written is None]
        for row in going:
            if self._ended(tails[row], written):
                self.texts[row].written = written
        done = [text.written is not None for text in self.texts]
        stop = sum(done) >= self.enough
        return torch.full((len(done),), stop, device=input_ids.device)

    def _ended(self, tail: list[int], written: int) -> bool:
        if tail[-1] in self.eos or written >= self.decoding.max_new_tokens:
            return True
        if not self.decoding.stop:
            return False
        text = self.tokenizer.decode(tail)
        return any(stop in text for stop in self.decoding.stop)


def write(
    model,
    tokenizer,
    prompts: Sequence[list[int]],
    numbers: Sequence[int],
    decoding: Decoding,
    batch_size: int = 48,
) -> Iterator[tuple[int, str, int]]:
    """Texts after `prompts`, token ids, as they end: (place of the prompt, text, tokens written).

    Prompts of similar length share a batch, padded on the left so that all begin to write at once. `numbers`
    tells samples of one prompt apart: a text is drawn by seed, prompt and number, and stays the same (up to
    the rounding of sums) whatever it is written beside. Penalties in the model's own generation settings are
    left out.
    """
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    while order:
        longest = len(prompts[order[0]]) + decoding.max_new_tokens
        fit = max(1, min(batch_size, _TOKENS // longest))
        batch, order = order[:fit], order[fit:]
        some = [prompts[i] for i in batch], [numbers[i] for i in batch]
        for place, text, n in _decode(model, tokenizer, *some, decoding):
            yield batch[place], text, n


def _decode(
    model, tokenizer, prompts: Sequence[list[int]], numbers: Sequence[int], decoding: Decoding
) -> Iterator[tuple[int, str, int]]:
    """`write` for one batch; where memory does not suffice for all of it, half by half."""
    texts = [
        _Text(place, prompt, _generator(decoding, prompt, number) if decoding.temperature else None)
        for place, (prompt, number) in enumerate(zip(prompts, numbers, strict=True))
    ]
    ended: set[int] = set()
    try:
        for text, found, n in _decode_together(model, tokenizer, texts, decoding):
            ended.add(text.place)
            yield text.place, found, n
        return
    except RuntimeError as error:
        if not memory.is_out_of_memory(error) or len(texts) == 1:
            raise
    memory.release()
    left = [place for place in range(len(texts)) if place not in ended]
    for half in (left[: len(left) // 2], left[len(left) // 2 :]):
        some = [prompts[i] for i in half], [numbers[i] for i in half]
        for place, text, n in _decode(model, tokenizer, *some, decoding) if half else ():
            yield half[place], text, n


def _generator(decoding: Decoding, prompt: list[int], number: int) -> torch.Generator:
    seed = int(digest(decoding.seed, prompt, number)[:15], 16)
    return torch.Generator().manual_seed(seed)


@torch.inference_mode()
def _round(model, tokenizer, texts, ids, mask, cache, width, eos, decoding) -> torch.Tensor:
    """`ids` [texts, tokens], of which `width` are prompts, with what is written until enough texts end."""
    draws = LogitsProcessorList([_Draws(texts, decoding)] if decoding.temperature else [])
    return model.generate(
        ids,
        attention_mask=mask,
        past_key_values=cache,
        logits_processor=draws,
        stopping_criteria=StoppingCriteriaList([_Ends(texts, width, tokenizer, eos, decoding)]),
    )


def _decode_together(model, tokenizer, texts: list[_Text], decoding: Decoding):
    eos = _end_tokens(model, tokenizer)
    pad = min(eos)
    width = max(len(text.prompt) for text in texts)
    ids = [[pad] * (width - len(text.prompt)) + text.prompt for text in texts]
    mask = [[0] * (width - len(text.prompt)) + [1] * len(text.prompt) for text in texts]
    ids, mask = (torch.tensor(rows, device=model.device) for rows in (ids, mask))
    cache = kv_cache(model.config)
    while texts:
        with _plain_settings(model, pad, width + decoding.max_new_tokens):
            ids = _round(model, tokenizer, texts, ids, mask, cache, width, eos, decoding)
        for text, row in zip(texts, ids[:, width:].tolist(), strict=True):
            if text.written is not None:
                found = continuation(tokenizer, text.prompt, row[: text.written])
                yield text, decoding.cut(found), text.written
        left = [row for row, text in enumerate(texts) if text.written is None]
        texts = [texts[row] for row in left]
        if texts:
            rows = torch.tensor(left, device=ids.device)
            ids, mask = ids[rows], mask[rows]
            mask = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
            cache.batch_select_indices(rows)


def continuation(tokenizer, prompt: list[int], written: list[int]) -> str:
    """The text of the tokens `written` after `prompt`, its first space included, which tokenizers of
    SentencePiece's kind drop where a text begins: indentation, in code."""

    def text(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    before = prompt[-_BEFORE:]
    head, whole = text(before), text(before + written)
    return whole[len(head) :] if whole.startswith(head) else text(written)


def _end_tokens(model, tokenizer) -> set[int]:
    """The tokenizer's end-of-sequence, and others that the model's generation settings name."""
    named = model.generation_config.eos_token_id
    found = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    if not found:
        raise UserError(f"the tokenizer of {tokenizer.name_or_path!r} has no end-of-sequence token; set one.")
    return found


@contextmanager
def _plain_settings(model, pad: int, max_length: int):
    """Greedy decoding without the sampling and penalties that a model's repository may ask for."""
    before = model.generation_config
    model.generation_config = GenerationConfig(
        max_length=max_length, do_sample=False, pad_token_id=pad, use_cache=True
    )
    try:
        yield
    finally:
        model.generation_config = before

"""Decode texts after prompts, in batches that shrink as their texts end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature

import torch
from transformers import (
    GenerationConfig,
    GenerationMixin,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from ...core import memory
from ...core.errors import UserError, positive, seed_of
from ...core.store import digest
from ...lm import chat
from .kv_cache import kv_cache

_TAIL = 24  # last tokens to search for a stop string; longer than any stop string
_BATCH_TOKENS = 2**15  # tokens in the key-value cache of a batch, if every text reaches its maximum length
_CONTEXT = 4  # tokens of the prompt that are decoded together with its continuation
_SHRINK = 8  # a batch drops its finished texts once they are an eighth of it
# The argument of `generate` for a key-value cache; newer versions of transformers deprecate the longer name.
_HAS_CACHE = "cache" in signature(GenerationMixin.prepare_inputs_for_generation).parameters
_CACHE = "cache" if _HAS_CACHE else "past_key_values"


@dataclass(frozen=True)
class Decoding:
    """Settings of decoding.

    `temperature` 0 is greedy. Above 0, tokens are sampled from the smallest set of most likely tokens whose
    probabilities sum to `top_p`. A text ends at the tokenizer's end-of-sequence token or the token that ends
    a turn of its chat template, before the first of the strings `stop`, or after `max_new_tokens`. Raises
    UserError if a value is out of range.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self):
        positive("max_new_tokens", self.max_new_tokens)
        seed_of(self.seed)
        if not self.temperature >= 0:
            raise UserError(f"temperature={self.temperature!r} must be 0 (greedy) or above.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p!r} must be above 0 and at most 1.")

    def cut(self, text: str) -> str:
        """`text` up to its first stop string."""
        return text[: min((i for stop in self.stop if (i := text.find(stop)) >= 0), default=len(text))]


@dataclass
class _Text:
    """A text that is being decoded; `position` is that of its prompt in the batch."""

    position: int
    prompt: list[int]
    generator: torch.Generator | None  # None for greedy decoding
    length: int | None = None  # tokens up to its end, once it has ended


class _GumbelNoise(LogitsProcessor):
    """Makes greedy decoding sample: the argmax of logits plus Gumbel noise is a sample from their softmax.

    Each text has its own noise, so that it does not depend on the other texts of its batch.
    """

    def __init__(self, texts: list[_Text], decoding: Decoding):
        self.generators = [text.generator for text in texts]
        self.warpers = [TemperatureLogitsWarper(float(decoding.temperature))]
        if decoding.top_p < 1:
            self.warpers.append(TopPLogitsWarper(decoding.top_p))

    def __call__(self, input_ids, scores):
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        n = scores.shape[-1]
        noise = torch.stack([torch.empty(n).exponential_(generator=own) for own in self.generators])
        return scores - noise.log().to(scores.device)


class _TextEnds(StoppingCriteria):
    """Records where texts end, and stops the round once enough of them have ended."""

    def __init__(self, texts: list[_Text], width: int, tokenizer, eos: set[int], decoding: Decoding):
        self.texts, self.width, self.tokenizer, self.eos = texts, width, tokenizer, eos
        self.decoding = decoding
        self.enough = max(1, len(texts) // _SHRINK)

    def __call__(self, input_ids, scores, **kwargs):
        length = input_ids.shape[1] - self.width
        tails = input_ids[:, self.width :][:, -_TAIL:].tolist()
        for text, tail in zip(self.texts, tails, strict=True):
            if text.length is None and self._has_ended(tail, length):
                text.length = length
        ended = [text.length is not None for text in self.texts]
        stop = sum(ended) >= self.enough
        return torch.full((len(ended),), stop, device=input_ids.device)

    def _has_ended(self, tail: list[int], length: int) -> bool:
        if tail[-1] in self.eos or length >= self.decoding.max_new_tokens:
            return True
        if not self.decoding.stop:
            return False
        text = self.tokenizer.decode(tail)
        return any(stop in text for stop in self.decoding.stop)


def generate_texts(
    model,
    tokenizer,
    prompts: Sequence[list[int]],
    numbers: Sequence[int],
    decoding: Decoding,
    batch_size: int = 48,
) -> Iterator[tuple[int, str, int]]:
    """Yields (position of the prompt, text, number of tokens) for each of `prompts` (token ids), as texts
    end.

    Prompts of similar length share a batch of at most `batch_size`, padded on the left. A batch that does not
    fit in memory is halved. `numbers` distinguishes samples of the same prompt: a sampled text depends on
    seed, prompt and number only, not on its batch (up to the rounding of sums). Sampling settings and
    penalties of the model's own generation config are ignored.
    """
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    while order:
        longest = len(prompts[order[0]]) + decoding.max_new_tokens
        size = max(1, min(batch_size, _BATCH_TOKENS // longest))
        batch, order = order[:size], order[size:]
        request = [prompts[i] for i in batch], [numbers[i] for i in batch]
        for position, text, n in _decode(model, tokenizer, *request, decoding):
            yield batch[position], text, n


def _decode(
    model, tokenizer, prompts: Sequence[list[int]], numbers: Sequence[int], decoding: Decoding
) -> Iterator[tuple[int, str, int]]:
    """`generate_texts` for one batch; if memory runs out, for each half of what is left of it."""
    texts = [
        _Text(position, prompt, _generator(decoding, prompt, number) if decoding.temperature else None)
        for position, (prompt, number) in enumerate(zip(prompts, numbers, strict=True))
    ]
    ended: set[int] = set()
    try:
        for text, answer, n in _decode_together(model, tokenizer, texts, decoding):
            ended.add(text.position)
            yield text.position, answer, n
        return
    except RuntimeError as error:
        if not memory.is_out_of_memory(error) or len(texts) == 1:
            raise
    memory.release()
    left = [position for position in range(len(texts)) if position not in ended]
    for half in (left[: len(left) // 2], left[len(left) // 2 :]):
        request = [prompts[i] for i in half], [numbers[i] for i in half]
        for position, text, n in _decode(model, tokenizer, *request, decoding) if half else ():
            yield half[position], text, n


def _generator(decoding: Decoding, prompt: list[int], number: int) -> torch.Generator:
    seed = int(digest(decoding.seed, prompt, number)[:15], 16)
    return torch.Generator().manual_seed(seed)


@torch.inference_mode()
def _round(model, tokenizer, texts, ids, mask, cache, width, eos, decoding) -> torch.Tensor:
    """`ids` [texts, tokens], whose first `width` columns are prompts, extended until enough texts end."""
    noise = LogitsProcessorList([_GumbelNoise(texts, decoding)] if decoding.temperature else [])
    return model.generate(
        ids,
        attention_mask=mask,
        logits_processor=noise,
        stopping_criteria=StoppingCriteriaList([_TextEnds(texts, width, tokenizer, eos, decoding)]),
        **{_CACHE: cache},
    )


def _decode_together(model, tokenizer, texts: list[_Text], decoding: Decoding):
    """Yields (text, answer, number of tokens) as texts end."""
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
            if text.length is not None:
                answer = continuation(tokenizer, text.prompt, row[: text.length])
                yield text, decoding.cut(answer), text.length
        left = [row for row, text in enumerate(texts) if text.length is None]
        texts = [texts[row] for row in left]
        if texts:
            rows = torch.tensor(left, device=ids.device)
            ids, mask = ids[rows], mask[rows]
            mask = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
            cache.batch_select_indices(rows)


def continuation(tokenizer, prompt: list[int], ids: list[int]) -> str:
    """The text of the token `ids` that follow `prompt`, with its leading space.

    Tokenizers such as SentencePiece's drop a space at the start of a text; in code, that is indentation.
    """

    def decode(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    context = prompt[-_CONTEXT:]
    head, whole = decode(context), decode(context + ids)
    return whole[len(head) :] if whole.startswith(head) else decode(ids)


def _end_tokens(model, tokenizer) -> set[int]:
    """The end-of-sequence tokens of the tokenizer, of its chat template's turns and of the model's generation
    config."""
    end_tokens = {tokenizer.eos_token_id, chat.turn_end(tokenizer), *chat.configured_ends(model)} - {None}
    if not end_tokens:
        raise UserError(f"the tokenizer of {tokenizer.name_or_path!r} has no end-of-sequence token; set one.")
    return end_tokens


@contextmanager
def _plain_settings(model, pad: int, max_length: int):
    """Greedy decoding, without sampling settings and penalties of the model's own generation config."""
    before = model.generation_config
    model.generation_config = GenerationConfig(
        max_length=max_length, do_sample=False, pad_token_id=pad, use_cache=True
    )
    try:
        yield
    finally:
        model.generation_config = before

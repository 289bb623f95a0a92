"""Conversations as text and ids, rendered by the chat template of a model."""

import re
from collections.abc import Callable, Sequence

from ..core.errors import UserError
from . import tokenization

Turns = list[dict]  # {"role": ..., "content": ...}

_MARKS = re.compile("\ufdd0(\\d+)\ufdd1")  # noncharacters, which no text may hold
_ANSWER = "ANSWER"
_EXCERPT = 60  # characters of a turn in a message
_PROBE = ({"role": "user", "content": "Question"}, {"role": "assistant", "content": _ANSWER})
_SYSTEM = {"role": "system", "content": "System"}


class TemplateRefusal(UserError):
    """A conversation that the chat template of `tokenizer` refuses; `reason` says why."""

    def __init__(self, tokenizer, turns: Turns, error: Exception):
        roles = ", ".join(turn["role"] for turn in turns)
        self.reason = f"the chat template refuses its turns ({roles}): {error}"
        super().__init__(
            f"the chat template of {tokenizer.name_or_path!r} refuses {_row_of(turns)}: {error}. Remove the "
            f"row or the turn, or take another template."
        )


def or_refusals(encode: Callable[[slice], Sequence], n_rows: int) -> list:
    """What `encode` makes of rows 0 to `n_rows`, with the `TemplateRefusal` of each row that is refused.

    `encode` takes a slice of the rows and raises TemplateRefusal if the chat template refuses one of them;
    halving the slice finds that row.
    """

    def encoded(start: int, stop: int) -> list:
        try:
            return list(encode(slice(start, stop)))
        except TemplateRefusal as refusal:
            if stop - start == 1:
                return [refusal]
        middle = (start + stop) // 2
        return encoded(start, middle) + encoded(middle, stop)

    return encoded(0, n_rows) if n_rows else []


def render(tokenizer, conversations: Sequence[Turns], *, open_answer: bool) -> list[str]:
    """The text of each conversation, up to the start of an answer if `open_answer`.

    Special tokens spelled in a turn are marked, so that `encode` keeps them text; `unmarked` gives the plain
    text. Raises TemplateRefusal for the first conversation that the template refuses.
    """
    specials = _specials(tokenizer)
    return [
        _render(
            tokenizer, [turn | {"content": _marked(turn["content"], specials)} for turn in turns], open_answer
        )
        for turns in conversations
    ]


def _render(tokenizer, turns: Turns, open_answer: bool) -> str:
    from jinja2 import TemplateError

    # A template computes with turns that it does not expect, e.g. with a second turn that is not there.
    errors = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
    try:
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=open_answer)
    except errors as error:
        raise TemplateRefusal(tokenizer, turns, error) from None


def _row_of(turns: Turns) -> str:
    """Names the row of these turns in a message."""
    roles = ", ".join(turn["role"] for turn in turns)
    return f"the row whose turns ({roles}) begin with {turns[0]['content'][:_EXCERPT]!r}"


def _specials(tokenizer) -> list[str]:
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def _marked(text: str, specials: list[str]) -> str:
    for i, special in enumerate(specials):
        text = text.replace(special, f"\ufdd0{i}\ufdd1")
    return text


def unmarked(tokenizer, text: str) -> str:
    """`text` of `render` with the special tokens that its turns spell."""
    specials = _specials(tokenizer)
    return _MARKS.sub(lambda mark: specials[int(mark[1])], text)


def encode(tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of texts of `render`: the template's special tokens are control tokens, a turn's are text."""
    ids = tokenizer(list(texts), add_special_tokens=False).input_ids
    return [
        _encode_marked(tokenizer, text) if _MARKS.search(text) else own
        for text, own in zip(texts, ids, strict=True)
    ]


def _encode_marked(tokenizer, text: str) -> list[int]:
    specials = sorted(_specials(tokenizer), key=len, reverse=True)
    ids: list[int] = []
    for piece in re.split(f"({'|'.join(map(re.escape, specials))})", text):
        if piece in specials:
            ids.append(tokenizer.convert_tokens_to_ids(piece))
        elif piece:
            ids += tokenization.encode_continuations(tokenizer, [unmarked(tokenizer, piece)])[0]
    return ids


def closing(tokenizer) -> tuple[str, int] | None:
    """What the template puts after an answer: the text before the token that ends the turn, and its id.

    None if the template ends a turn without such a token. Raises UserError if the template refuses a question
    with an answer, with a system turn before them too.
    """
    probes = [list(_PROBE), [_SYSTEM, *_PROBE]]
    texts = or_refusals(lambda rows: [_render(tokenizer, turns, False) for turns in probes[rows]], 2)
    text = next((text for text in texts if isinstance(text, str)), None)
    if text is None:
        raise UserError(
            f"the chat template of {tokenizer.name_or_path!r} refuses every conversation: {texts[0].reason}; "
            f"choose another template or model."
        )
    after = text.rpartition(_ANSWER)[2]
    starts = [
        (after.find(token.content), -len(token.content), i)
        for i, token in tokenizer.added_tokens_decoder.items()
        if token.content in after
    ]
    if not starts:
        return None
    start, _, token_id = min(starts)
    return after[:start], token_id


def turn_end(tokenizer) -> int | None:
    """The id of the token that ends a turn of the chat template.

    None without a template or such a token, and if the template refuses any conversation.
    """
    try:
        end = closing(tokenizer) if tokenizer.chat_template else None
    except UserError:
        return None
    return end and end[1]


def configured_ends(model) -> list[int]:
    """The ids that end a text by the generation config of `model`."""
    ends = model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [] if ends is None else [ends]


def stop_at_turn_end(model, tokenizer) -> None:
    """Add the end of a turn to the generation config of `model`, so that other programs stop there too."""
    end, ends = turn_end(tokenizer), configured_ends(model)
    if end is not None and end not in ends:
        model.generation_config.eos_token_id = [*ends, end]


def encode_answers(
    tokenizer, conversations: Sequence[Turns], prompts: Sequence[str], answers: Sequence[str]
) -> list[list[int]]:
    """The ids that follow `prompts` (texts of `render`): each answer as the template renders it, and its end.

    The end is the template's own token, or the tokenizer's EOS if the template ends turns without a token.
    What a template writes after that token is left out, as generation stops there.
    """
    end = closing(tokenizer)
    if end is None:
        return [
            [*ids, tokenizer.eos_token_id] for ids in tokenization.encode_continuations(tokenizer, answers)
        ]
    before, end_id = end
    stop = before + tokenizer.convert_ids_to_tokens(end_id)
    whole = [
        [*turns, {"role": "assistant", "content": answer}]
        for turns, answer in zip(conversations, answers, strict=True)
    ]
    targets = []
    rendered = render(tokenizer, whole, open_answer=False)
    for prompt, text, answer in zip(prompts, rendered, answers, strict=True):
        target, matched, _ = text[len(prompt) :].rpartition(stop)
        follows = matched and text.startswith(prompt)  # a template may write a prompt unlike a past turn
        targets.append((unmarked(tokenizer, target) if follows else answer) + before)
    return [[*ids, end_id] for ids in tokenization.encode_continuations(tokenizer, targets)]


def answer_spans(tokenizer, turns: Turns, prompt: str, prompt_ids: Sequence[int]) -> list[tuple[int, int]]:
    """Where the answers in `turns` lie among `prompt_ids`: (first, stop) indices, with the end of each turn.

    `prompt` is the text of `turns` by `render`, up to the start of the next answer, and `prompt_ids` its ids.
    An assistant turn before the first question is no answer. Raises UserError if the template writes an
    answer differently once other turns follow it.
    """
    roles = [turn["role"] for turn in turns]
    answers = [k for k, role in enumerate(roles) if role == "assistant" and "user" in roles[:k]]
    if not answers:
        return []
    befores = render(tokenizer, [turns[:k] for k in answers], open_answer=True)
    afters = render(tokenizer, [turns[: k + 1] for k in answers], open_answer=False)
    end = closing(tokenizer)
    stop = end and end[0] + tokenizer.convert_ids_to_tokens(end[1])
    spans = []
    for before, after in zip(befores, afters, strict=True):
        if stop and stop in after[len(before) :]:
            after = after[: after.rindex(stop) + len(stop)]
        if not prompt.startswith(before) or not prompt.startswith(after):
            raise UserError(
                f"train_on='all': the chat template of {tokenizer.name_or_path!r} writes an answer "
                f"differently once other turns follow it, as in {_row_of(turns)}; use train_on='last'."
            )
        first, last = (_common(ids, prompt_ids) for ids in encode(tokenizer, [before, after]))
        spans.append((first, last))
    return spans


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """The number of elements at the start of `a` and `b` that are the same."""
    same = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(same, min(len(a), len(b)))

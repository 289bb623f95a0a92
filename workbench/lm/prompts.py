"""Instruction templates -> token ids and labels; the only home of the ignore index.

Two texts, never mixed: the *scoring* prompt of the paper's released scorer (section 3 of arXiv 2504.12687,
its complexity score), and the *training* template that the model is tuned and later asked with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.errors import UserError, one_of

IGNORE_INDEX = -100  # a label that takes no part in the loss (PyTorch's default)

TEMPLATES = {
    "deepseek": "### Instruction:\n{instruction}\n### Response:\n",
    "codellama": "[INST] {instruction} [/INST]",
}


SCORING_PROMPTS = ("paper", "chat")
Question = (
    str | list[dict]
)  # an instruction, or the turns ("role", "content") of a dialogue up to the response


def scoring_prompts(tokenizer, questions: Sequence[Question], prompt: str = "paper") -> list[str]:
    """The text before each response when IFD is measured: the paper's, or ("chat") the model's own template,
    which holds its special tokens already."""
    if prompt == "paper":
        return [f"Question:\n{question}\n\nAnswer:\n" for question in questions]
    return _chat(tokenizer, questions)


def _chat(tokenizer, questions: Sequence[Question]) -> list[str]:
    if not tokenizer.chat_template:
        raise UserError(
            f"'chat': the tokenizer of {tokenizer.name_or_path!r} has no chat template; score with "
            f"prompt='paper', and train with template={' or '.join(map(repr, sorted(TEMPLATES)))}."
        )
    turns = [[{"role": "user", "content": q}] if isinstance(q, str) else q for q in questions]
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


@dataclass(frozen=True)
class Sample:
    """One sequence for a causal model: `input_ids`, of which those from `first_target` on are predicted."""

    input_ids: tuple[int, ...]
    first_target: int  # at least 1: nothing stands before the first token, so nothing predicts it

    @property
    def labels(self) -> list[int]:
        return [IGNORE_INDEX] * self.first_target + list(self.input_ids[self.first_target :])

    @property
    def n_targets(self) -> int:
        return max(0, len(self.input_ids) - self.first_target)


def resolve_template(tokenizer, template: str = "auto") -> str:
    """ "auto" is the model's own chat template where its tokenizer has one, else DeepSeek's."""
    one_of("template", template, {"auto", "chat", *TEMPLATES})
    if template == "auto":
        return "chat" if tokenizer.chat_template else "deepseek"
    return template


def _prompt_ids(tokenizer, instructions: Sequence[str], template: str) -> list[list[int]]:
    template = resolve_template(tokenizer, template)
    if not instructions:
        return []
    if template == "chat":
        return tokenizer(_chat(tokenizer, instructions), add_special_tokens=False).input_ids
    return tokenizer([TEMPLATES[template].format(instruction=text) for text in instructions]).input_ids


def generation_prompts(tokenizer, instructions: Sequence[str], template: str = "auto") -> list[list[int]]:
    """Token ids that stand before each response: what the model is asked with."""
    return _prompt_ids(tokenizer, list(instructions), template)


def training_samples(
    tokenizer,
    instructions: Sequence[str],
    responses: Sequence[str],
    template: str = "auto",
    max_length: int | None = None,
) -> list[Sample]:
    """Prompt, response and closing end-of-sequence token of each pair; the loss falls on the last two
    (arXiv 2504.12687, experimental setup).

    Prompt and response are tokenized apart, so training sees the prompt exactly as generation does.
    A sample of more than `max_length` tokens loses its end.
    """
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {tokenizer.name_or_path!r} has no end-of-sequence token; set one.")
    if not instructions:
        return []
    prompts = _prompt_ids(tokenizer, list(instructions), template)
    answers = tokenizer(list(responses), add_special_tokens=False).input_ids
    samples = []
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = tuple([*prompt, *answer, tokenizer.eos_token_id][:max_length])
        samples.append(Sample(ids, max(1, min(len(prompt), len(ids)))))
    return samples

"""Prompts: instructions as text, token ids and labels.

Two kinds, never mixed: the scoring prompt of the paper's released scorer (arXiv 2504.12687, section 3), and
the training template, which the model is tuned with and later generates with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.errors import UserError, one_of
from . import tokenization

IGNORE_INDEX = -100  # the label of positions without a loss (PyTorch's default)

TEMPLATES = {
    "deepseek": "### Instruction:\n{instruction}\n### Response:\n",
    "codellama": "[INST] {instruction} [/INST]",
}


SCORING_PROMPTS = ("paper", "chat")
# An instruction, or the turns ({"role": ..., "content": ...}) of a dialogue up to the response.
Question = str | list[dict]


def scoring_prompts(tokenizer, questions: Sequence[Question], prompt: str = "paper") -> list[str]:
    """The text before each response for the IFD score.

    `prompt` is "paper", the released scorer's text, or "chat", the model's own chat template, whose output
    contains its special tokens. Raises UserError for "chat" if the tokenizer has no chat template.
    """
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
    """One sequence of a causal model. The tokens from index `first_target` on are targets.

    `first_target` is at least 1, because no position predicts the first token.
    """

    input_ids: tuple[int, ...]
    first_target: int

    @property
    def labels(self) -> list[int]:
        return [IGNORE_INDEX] * self.first_target + list(self.input_ids[self.first_target :])

    @property
    def n_targets(self) -> int:
        return max(0, len(self.input_ids) - self.first_target)


def resolve_template(tokenizer, template: str = "auto") -> str:
    """Resolve "auto" to "chat" if the tokenizer has a chat template, else to "deepseek".

    Raises UserError unless `template` is "auto", "chat" or a key of `TEMPLATES`.
    """
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
    texts = [TEMPLATES[template].format(instruction=text) for text in instructions]
    return tokenization.encode_prompts(tokenizer, texts)


def generation_prompts(tokenizer, instructions: Sequence[str], template: str = "auto") -> list[list[int]]:
    """Token ids of the prompt before each response, under the training `template`."""
    return _prompt_ids(tokenizer, list(instructions), template)


def training_samples(
    tokenizer,
    instructions: Sequence[str],
    responses: Sequence[str],
    template: str = "auto",
    max_length: int | None = None,
) -> list[Sample]:
    """Samples of prompt, response and end-of-sequence token; the last two are targets.

    Follows the experimental setup of arXiv 2504.12687. Prompt and response are tokenized separately, so that
    training and generation use the same prompt tokens. Samples are truncated to `max_length` tokens.

    Raises UserError if the tokenizer has no end-of-sequence token, or no chat template for "chat".
    """
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {tokenizer.name_or_path!r} has no end-of-sequence token; set one.")
    if not instructions:
        return []
    prompts = _prompt_ids(tokenizer, list(instructions), template)
    answers = tokenization.encode_continuations(tokenizer, responses)
    samples = []
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = tuple([*prompt, *answer, tokenizer.eos_token_id][:max_length])
        samples.append(Sample(ids, max(1, min(len(prompt), len(ids)))))
    return samples

"""Prompts: instructions as text, token ids and labels.

Two kinds, never mixed: the scoring prompt of the paper's released scorer (arXiv 2504.12687, section 3), and
the training template, which the model is tuned with and later generates with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.errors import UserError, one_of
from . import chat, tokenization

IGNORE_INDEX = -100  # the label of positions without a loss (PyTorch's default)

TEMPLATES = {
    "deepseek": "### Instruction:\n{instruction}\n### Response:\n",
    "codellama": "[INST] {instruction} [/INST]",
}


SCORING_PROMPTS = ("paper", "chat")
TRAIN_ON = ("last", "all")  # the answers of a dialogue that are targets
# An instruction, or the turns ({"role": ..., "content": ...}) of a dialogue up to the response.
Question = str | list[dict]


def scoring_prompts(tokenizer, questions: Sequence[Question], prompt: str = "paper") -> list[str]:
    """The text before each response for the IFD score.

    `prompt` is "paper", the released scorer's text, or "chat", the model's own chat template, whose output
    contains its special tokens. Raises UserError for "chat" if the tokenizer has no chat template.
    """
    if prompt == "paper":
        return [f"Question:\n{question}\n\nAnswer:\n" for question in questions]
    return [chat.unmarked(tokenizer, text) for text in _chat_prompts(tokenizer, questions)]


def questions(table, template: str) -> list[Question]:
    """The question of each row of `table`, a dataset or the columns of a batch.

    It is the row's dialogue if it has one and `template` (resolved) is "chat", else its instruction.
    """
    instructions = table["instruction"][:]
    if template != "chat" or "dialogue" not in getattr(table, "column_names", table):
        return instructions
    return [turns or text for text, turns in zip(instructions, table["dialogue"][:], strict=True)]


def _turns(question: Question) -> list[dict]:
    return [{"role": "user", "content": question}] if isinstance(question, str) else question


def _chat_prompts(tokenizer, questions: Sequence[Question]) -> list[str]:
    """The prompt of each question under the model's chat template, as a text of `chat.render`."""
    if not tokenizer.chat_template:
        raise UserError(
            f"'chat': the tokenizer of {tokenizer.name_or_path!r} has no chat template; score with "
            f"prompt='paper', and train with template={' or '.join(map(repr, sorted(TEMPLATES)))}."
        )
    return chat.render(tokenizer, [_turns(question) for question in questions], open_answer=True)


@dataclass(frozen=True)
class Sample:
    """One sequence of a causal model. The tokens from index `first_target` on are targets, except `gaps`.

    `first_target` is at least 1, because no position predicts the first token. `gaps` are (first, stop)
    indices behind it, in ascending order: the turns between two answers of a dialogue. `refusal` says why the
    chat template refuses the row; such a sample has no tokens.
    """

    input_ids: tuple[int, ...]
    first_target: int
    gaps: tuple[tuple[int, int], ...] = ()
    refusal: str | None = None

    @property
    def labels(self) -> list[int]:
        labels = [IGNORE_INDEX] * self.first_target + list(self.input_ids[self.first_target :])
        for first, stop in self.gaps:
            labels[first:stop] = [IGNORE_INDEX] * (stop - first)
        return labels

    @property
    def n_targets(self) -> int:
        between = sum(stop - first for first, stop in self.gaps)
        return max(0, len(self.input_ids) - self.first_target) - between

    def part(self, start: int, stop: int | None = None) -> "Sample":
        """The tokens `start` to `stop` (default: the last) as a sample; the first of them is no target."""
        ids = self.input_ids[start:stop]
        first_target = max(1, min(self.first_target - start, len(ids)))
        gaps = ((max(first_target, a - start), min(b - start, len(ids))) for a, b in self.gaps)
        return Sample(ids, first_target, tuple((a, b) for a, b in gaps if a < b), self.refusal)


def resolve_template(tokenizer, template: str = "auto") -> str:
    """Resolve "auto" to "chat" if the tokenizer has a chat template, else to "deepseek".

    Raises UserError unless `template` is "auto", "chat" or a key of `TEMPLATES`.
    """
    one_of("template", template, {"auto", "chat", *TEMPLATES})
    if template == "auto":
        return "chat" if tokenizer.chat_template else "deepseek"
    return template


def generation_prompts(
    tokenizer, questions: Sequence[Question], template: str = "auto"
) -> list[list[int] | chat.TemplateRefusal]:
    """Token ids of the prompt before each response, under the training `template`.

    Only the chat template takes turns; the others take instructions. A question that it refuses has the
    refusal in place of a prompt. Raises the first refusal, a UserError, if it refuses all.
    """
    template = resolve_template(tokenizer, template)

    def encode(rows: slice) -> list[list[int]]:
        return _encode_prompts(tokenizer, _prompt_texts(tokenizer, questions[rows], template), template)

    encoded = chat.or_refusals(encode, len(questions))
    if encoded and all(isinstance(prompt, chat.TemplateRefusal) for prompt in encoded):
        raise encoded[0]
    return encoded


def _prompt_texts(tokenizer, questions: Sequence[Question], template: str) -> list[str]:
    """The prompt of each question under a resolved template; for "chat", as a text of `chat.render`."""
    if not questions:
        return []
    if template == "chat":
        return _chat_prompts(tokenizer, questions)
    return [TEMPLATES[template].format(instruction=text) for text in questions]


def _encode_prompts(tokenizer, texts: Sequence[str], template: str) -> list[list[int]]:
    if not texts:
        return []
    encode = chat.encode if template == "chat" else tokenization.encode_prompts
    return encode(tokenizer, texts)


def training_samples(
    tokenizer,
    questions: Sequence[Question],
    responses: Sequence[str],
    template: str = "auto",
    max_length: int | None = None,
    train_on: str = "last",
) -> list[Sample]:
    """Samples of prompt, response and the token that ends it; the last two are targets.

    Follows the experimental setup of arXiv 2504.12687. With the chat template, the response is rendered and
    ended as the template does; otherwise the end-of-sequence token ends it. Prompt and response are tokenized
    separately, so that training and generation use the same prompt tokens. Samples are truncated to
    `max_length` tokens.

    With `train_on="all"`, the earlier answers in the turns of a dialogue are targets too, each with the token
    that ends it; the token ids are the same as with "last".

    A row that the chat template refuses gets a sample without tokens, whose `refusal` is the reason.

    Raises UserError if the tokenizer has no end-of-sequence token, no chat template for "chat", or if the
    chat template, with "all", writes an earlier answer differently.
    """
    one_of("train_on", train_on, TRAIN_ON)
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {tokenizer.name_or_path!r} has no end-of-sequence token; set one.")
    template = resolve_template(tokenizer, template)
    if template == "chat" and tokenizer.chat_template and questions:
        chat.closing(tokenizer)  # raises once what each row would raise

    def encode(rows: slice) -> list[Sample]:
        return _samples(tokenizer, questions[rows], responses[rows], template, train_on)

    samples = [
        Sample((), 1, refusal=sample.reason) if isinstance(sample, chat.TemplateRefusal) else sample
        for sample in chat.or_refusals(encode, len(questions))
    ]
    return [sample.part(0, max_length) for sample in samples]


def _samples(
    tokenizer, questions: Sequence[Question], responses: Sequence[str], template: str, train_on: str
) -> list[Sample]:
    """The samples under a resolved `template`. Raises TemplateRefusal if it refuses a row."""
    texts = _prompt_texts(tokenizer, questions, template)
    prompts = _encode_prompts(tokenizer, texts, template)
    if template == "chat":
        conversations = [_turns(question) for question in questions]
        targets = chat.encode_answers(tokenizer, conversations, texts, responses)
    else:
        answers = tokenization.encode_continuations(tokenizer, responses)
        targets = [[*answer, tokenizer.eos_token_id] for answer in answers]
    samples = [
        Sample((*prompt, *target), max(1, len(prompt)))
        for prompt, target in zip(prompts, targets, strict=True)
    ]
    if train_on == "all" and template == "chat":
        samples = [
            _with_earlier_answers(sample, chat.answer_spans(tokenizer, _turns(question), text, prompt))
            for sample, question, text, prompt in zip(samples, questions, texts, prompts, strict=True)
        ]
    return samples


def _with_earlier_answers(sample: Sample, spans: Sequence[tuple[int, int]]) -> Sample:
    """`sample`, whose prompt holds answers at `spans`, (first, stop) token indices, as further targets."""
    if not spans:
        return sample
    starts = [first for first, _ in spans[1:]] + [sample.first_target]
    gaps = zip((stop for _, stop in spans), starts, strict=True)
    return Sample(sample.input_ids, max(1, spans[0][0]), tuple((a, b) for a, b in gaps if a < b))

"""How a coding task becomes a prompt, and how an answer becomes a program."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import one_of
from ...lm import chat, prompts, tokenization
from ...lm.chat import TemplateRefusal
from ...lm.prompts import Sample

RAW = "raw"  # the prompt is the task's own code, for a base model to continue
_REQUEST = "Write the Python code that this task asks for, complete with its imports.\n\n```python\n{}\n```"
_OPENING = "```python\n"  # the answer starts inside a fenced block, so that the model writes code
_CLOSING = ("\n```",)

# Strings that end a continuation. HumanEval's prompts end inside a function (arXiv 2107.03374, section 2.1),
# MBPP's before it.
STOPS = {
    "humaneval": ("\nclass ", "\ndef ", "\n#", "\n@", "\nif ", "\nprint(", "\nassert ", "```"),
    "mbpp": ("\nif ", "\nprint(", "\nassert ", '\n"""', "```"),
}


@dataclass(frozen=True)
class PromptFormat:
    """`template` is "raw" or a resolved template for instructions (`lm.prompts`); `stop` are the strings that
    end an answer."""

    template: str
    stop: tuple[str, ...]

    @classmethod
    def resolve(
        cls, tokenizer, template: str, trained_with: str | None, stops: tuple[str, ...]
    ) -> "PromptFormat":
        """The format for `template`.

        "auto" is the template of the training run (`trained_with`) if there is one, else the model's chat
        template, else "raw". `stops` end a raw continuation; other answers end with their fenced block.
        Raises UserError if there is no such template.
        """
        one_of("template", template, {"auto", RAW, "chat", *prompts.TEMPLATES})
        if template == "auto":
            template = trained_with or ("auto" if tokenizer.chat_template else RAW)
        if template == RAW:
            return cls(RAW, stops)
        return cls(prompts.resolve_template(tokenizer, template), _CLOSING)

    def prompts(self, tokenizer, texts: Sequence[str]) -> list[list[int] | TemplateRefusal]:
        """The prompt of each task as token ids, or the chat template's refusal of it."""
        if self.template == RAW:
            return tokenization.encode_prompts(tokenizer, texts)
        requests = [_REQUEST.format(text.strip()) for text in texts]
        (opening,) = tokenization.encode_continuations(tokenizer, [_OPENING])
        return [
            ids if isinstance(ids, TemplateRefusal) else ids + opening
            for ids in prompts.generation_prompts(tokenizer, requests, self.template)
        ]

    def samples(self, tokenizer, texts: Sequence[str], solutions: Sequence[str]) -> list[Sample]:
        """The prompt of each task and its solution, as the model would write and end it; `solutions` continue
        the tasks' code."""
        if self.template != RAW:
            solutions = [text + code + _CLOSING[0] for text, code in zip(texts, solutions, strict=True)]
        answers = tokenization.encode_continuations(tokenizer, solutions)
        turn_end = chat.turn_end(tokenizer) if self.template == "chat" else None
        end = tokenizer.eos_token_id if turn_end is None else turn_end
        return [
            Sample((), 1, refusal=prompt.reason)
            if isinstance(prompt, TemplateRefusal)
            else Sample((*prompt, *answer, end), max(1, len(prompt)))
            for prompt, answer in zip(self.prompts(tokenizer, texts), answers, strict=True)
        ]

    def program(self, text: str, answer: str) -> str:
        """The whole program for the task `text`: a raw answer continues the task's code."""
        return text + answer if self.template == RAW else answer

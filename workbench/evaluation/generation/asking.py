"""How a model is asked to write the code of a task, and what program its answer makes."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import one_of
from ...lm import prompts

RAW = "raw"  # the task's own text, for a base model to go on with
_REQUEST = "Write the Python code that this task asks for, complete with its imports.\n\n```python\n{}\n```"
_OPENING = "```python\n"  # the answer begins inside a block of code, so that code is what is written
_CLOSING = ("\n```",)

# Where code that was to be continued is over: HumanEval's prompts end inside a function (arXiv 2107.03374,
# section 2.1), MBPP's before it.
STOPS = {
    "humaneval": ("\nclass ", "\ndef ", "\n#", "\n@", "\nif ", "\nprint(", "\nassert ", "```"),
    "mbpp": ("\nif ", "\nprint(", "\nassert ", '\n"""', "```"),
}


@dataclass(frozen=True)
class Asking:
    """`template` is "raw" or one of instructions (`prompts`), already resolved."""

    template: str
    stop: tuple[str, ...]

    def prompts(self, tokenizer, texts: Sequence[str]) -> list[list[int]]:
        """Token ids that stand before each answer."""
        if self.template == RAW:
            return tokenizer(list(texts)).input_ids
        asked = [_REQUEST.format(text.strip()) for text in texts]
        opening = tokenizer(_OPENING, add_special_tokens=False).input_ids
        return [ids + opening for ids in prompts.generation_prompts(tokenizer, asked, self.template)]

    def program(self, text: str, answer: str) -> str:
        """The code that solves the task `text`, if the model is right."""
        return text + answer if self.template == RAW else answer


def asking(tokenizer, template: str, trained_with: str | None, stops: tuple[str, ...]) -> Asking:
    """`template` "auto" is what a run was trained with, else the model's chat template, else "raw"."""
    one_of("template", template, {"auto", RAW, "chat", *prompts.TEMPLATES})
    if template == "auto":
        template = trained_with or ("auto" if tokenizer.chat_template else RAW)
    if template == RAW:
        return Asking(RAW, stops)
    return Asking(prompts.resolve_template(tokenizer, template), _CLOSING)

"""Generate answers to prompts. Each answer is stored as soon as it is complete and never generated again."""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property

from ...core import progress
from ...core.errors import UserError, one_of, positive
from ...core.store import Store, digest
from ...lm import chat, models, prompts
from ...lm.chat import TemplateRefusal
from ...lm.devices import precision
from . import vllm
from .decoding import Decoding, generate_texts

BACKENDS = ("transformers", "vllm")
# (prompts, sample numbers, decoding) -> (position of the prompt, text, number of tokens), in any order
Backend = Callable[[Sequence[list[int]], Sequence[int], Decoding], Iterator[tuple[int, str, int]]]


@dataclass(frozen=True)
class AnswerGenerator:
    """Generates answers with the model `name` (a name or a folder), which is loaded on first use.

    `backend` is "transformers", or "vllm", which needs that package and a GPU. Answers are cached by weights,
    prompt and settings, so that an interrupted evaluation resumes; with `cache=False` they are generated
    anew.
    """

    name: str
    dtype: str = "auto"
    device: str = "auto"
    batch_size: int = 48
    backend: str = "transformers"
    cache: bool = True

    def __post_init__(self):
        one_of("backend", self.backend, BACKENDS)
        positive("batch_size", self.batch_size)

    @cached_property
    def tokenizer(self):
        return models.load_tokenizer(self.name)

    @cached_property
    def model(self):
        return models.load_model(self.name, self.dtype, self.device)[0]

    def answers(
        self, prompts: Sequence[list[int] | TemplateRefusal], decoding: Decoding, n_samples: int = 1
    ) -> list[list[str | None]]:
        """`n_samples` texts for each prompt, which is a list of token ids; None for a refusal."""
        device = models.pick_device(self.device)
        numbers = precision(models.dtype_name(self.dtype, device), device)
        settings = [models.fingerprint(self.name), numbers, self.backend]
        if (end := chat.turn_end(self.tokenizer)) not in (None, self.tokenizer.eos_token_id):
            settings.append(end)
        store = Store("answers") if self.cache else None
        return generate_answers(self._generate_texts, prompts, decoding, n_samples, store, settings)

    def _generate_texts(self, *request) -> Iterator[tuple[int, str, int]]:
        if self.backend == "vllm":
            dtype = models.dtype_name(self.dtype, self.device)
            end = chat.turn_end(self.tokenizer)
            return vllm.generate_texts(models.resolve(self.name), dtype, *request, end)
        return generate_texts(self.model, self.tokenizer, *request, self.batch_size)


def generate_answers(
    backend: Backend,
    prompts: Sequence[list[int] | TemplateRefusal],
    decoding: Decoding,
    n_samples: int = 1,
    store: Store | None = None,
    settings: Sequence = (),
) -> list[list[str | None]]:
    """`n_samples` texts for each prompt (token ids): from `store` where it has them, else from `backend`.

    Those of a refusal are None.

    `settings` is what an answer depends on besides its prompt and `decoding`, e.g. the model's fingerprint.
    Raises UserError for several samples with greedy decoding, which would all be the same.
    """
    positive("n_samples", n_samples)
    if n_samples > 1 and not decoding.temperature:
        raise UserError(f"n_samples={n_samples} of greedy decoding are all the same; set a temperature.")
    accepted = [prompt for prompt in prompts if not isinstance(prompt, TemplateRefusal)]
    pairs = [(prompt, number) for prompt in accepted for number in range(n_samples)]
    keys = [digest([*settings, *astuple(decoding)], prompt, number) for prompt, number in pairs]
    stored = store.get(keys) if store else {}
    texts = [json.loads(stored[key]) if key in stored else None for key in keys]
    missing = [i for i, text in enumerate(texts) if text is None]
    n_tokens = 0
    with progress.bar(len(pairs), "generate", unit="answer") as bar:
        bar.update(len(pairs) - len(missing))
        bar.initial = bar.n  # the estimate of the remaining time ignores cached answers
        request = [pairs[i][0] for i in missing], [pairs[i][1] for i in missing]
        for position, text, n in backend(*request, decoding) if missing else ():
            i = missing[position]
            texts[i] = text
            if store:
                store.put({keys[i]: json.dumps(text).encode()})
            n_tokens += n
            elapsed = bar.format_dict["elapsed"]
            bar.set_postfix_str(f"{n_tokens / elapsed:.0f} tokens/s" if elapsed else "", refresh=False)
            bar.update(1)
    left = iter(texts)
    return [
        [None if isinstance(prompt, TemplateRefusal) else next(left) for _ in range(n_samples)]
        for prompt in prompts
    ]


def generate(
    model,
    tokenizer,
    instructions: Sequence[prompts.Question],
    *,
    template: str = "auto",
    max_new_tokens: int = 512,
    batch_size: int = 48,
) -> list[str | None]:
    """Answer each instruction with a loaded model, by greedy decoding; returns the texts in order.

    With a chat template, an instruction can also be the turns (role, content) of a dialogue.

    `template` is the prompt template of `wb.finetune`; "auto" takes the model's chat template, else
    DeepSeek's (arXiv 2504.12687). `max_new_tokens` counts tokens, `batch_size` prompts. Answers are not
    cached; `wb.evaluate` caches them. The answer to turns that the chat template refuses is None, and a
    warning says why. Raises UserError if it refuses all.
    """

    def backend(*request):
        return generate_texts(model, tokenizer, *request, batch_size)

    token_ids = prompts.generation_prompts(tokenizer, instructions, template)
    refusals = {i: ids.reason for i, ids in enumerate(token_ids) if isinstance(ids, TemplateRefusal)}
    if refusals:
        i, reason = next(iter(refusals.items()))
        warnings.warn(
            f"{len(refusals)} of {len(token_ids)} instructions get no answer, e.g. number {i}: {reason}.",
            stacklevel=2,
        )
    return [text for (text,) in generate_answers(backend, token_ids, Decoding(max_new_tokens))]

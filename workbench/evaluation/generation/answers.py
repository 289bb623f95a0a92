"""A model that answers: what it is asked with, and answers that are written once and then stored."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...core import progress
from ...core.errors import UserError, one_of, positive
from ...core.store import Store, digest
from ...lm import models, prompts
from . import decoding, vllm
from .decoding import Decoding

BACKENDS = ("transformers", "vllm")
Write = Callable[[Sequence[list[int]], Sequence[int], Decoding], Iterator[tuple[int, str, int]]]


@dataclass(frozen=True)
class Writer:
    """The model of `name` (a name or a folder), loaded when it is first needed.

    `backend` "vllm" needs that package and a GPU. Answers are kept in the store, each as soon as it is
    complete, by weights, prompt and settings, so that what was killed goes on and what was done is not done
    again; `cache=False` asks anew.
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

    def answers(self, asked: Sequence[list[int]], how: Decoding, n_samples: int = 1) -> list[list[str]]:
        """`n_samples` texts for each prompt of `asked`, token ids."""
        settings = [models.fingerprint(self.name), models.dtype_name(self.dtype, self.device), self.backend]
        store = Store("answers") if self.cache else None
        return answers(self._write, asked, how, n_samples, store, settings)

    def _write(self, *what) -> Iterator[tuple[int, str, int]]:
        if self.backend == "vllm":
            dtype = models.dtype_name(self.dtype, self.device)
            return vllm.write(models.resolve(self.name), dtype, *what)
        return decoding.write(self.model, self.tokenizer, *what, self.batch_size)


def answers(
    write: Write,
    asked: Sequence[list[int]],
    how: Decoding,
    n_samples: int = 1,
    store: Store | None = None,
    settings: Sequence = (),
) -> list[list[str]]:
    """`n_samples` texts for each prompt of `asked`: those in `store`, and for the others what `write` gives,
    stored text by text. `settings` is what an answer depends on besides its prompt and `how`."""
    positive("n_samples", n_samples)
    if n_samples > 1 and not how.temperature:
        raise UserError(f"n_samples={n_samples} of greedy decoding are all the same; set a temperature.")
    wanted = [(i, number) for i in range(len(asked)) for number in range(n_samples)]
    about = [*settings, how.max_new_tokens, how.temperature, how.top_p, how.seed, how.stop]
    keys = [digest(about, asked[i], number) for i, number in wanted]
    known = store.get(keys) if store else {}
    texts = [json.loads(known[key]) if key in known else None for key in keys]
    todo = [place for place, text in enumerate(texts) if text is None]
    tokens = 0
    with progress.bar(len(wanted), "generate", unit="answer") as bar:
        bar.update(len(wanted) - len(todo))
        bar.initial = bar.n  # what is stored says nothing of the time that is left
        given = [asked[wanted[place][0]] for place in todo], [wanted[place][1] for place in todo]
        for at, text, n in write(*given, how) if todo else ():
            texts[todo[at]] = text
            if store:
                store.put({keys[todo[at]]: json.dumps(text).encode()})
            tokens += n
            elapsed = bar.format_dict["elapsed"]
            bar.set_postfix_str(f"{tokens / elapsed:.0f} tokens/s" if elapsed else "", refresh=False)
            bar.update(1)
    return [texts[i : i + n_samples] for i in range(0, len(texts), n_samples)]


def generate(
    model,
    tokenizer,
    instructions: Sequence[str],
    *,
    template: str = "auto",
    max_new_tokens: int = 512,
    batch_size: int = 48,
) -> list[str]:
    """One greedy answer of a loaded model to each instruction, in their order."""

    def write(*what):
        return decoding.write(model, tokenizer, *what, batch_size)

    asked = prompts.generation_prompts(tokenizer, instructions, template)
    return [text for (text,) in answers(write, asked, Decoding(max_new_tokens))]

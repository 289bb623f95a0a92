"""Summed negative log-likelihoods of sequence pairs, in batches that fit the memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ..core import progress
from ..core.memory import is_out_of_memory
from ..lm import forward
from ..lm.batching import flat_batches
from .pairs import Pair

# Tokens per forward pass. A CPU gains nothing from more once its cores are busy; a GPU does.
TOKEN_BUDGET = {"cpu": 2048, "mps": 4096, "cuda": 16384}


@dataclass(frozen=True)
class Sums:
    """nll in nats, summed over the scored tokens. Both are None if `failure` gives a status."""

    alone: float | None
    conditioned: float | None
    failure: str | None = None


@dataclass
class Engine:
    """Runs pairs through `model`. `token_budget` is halved whenever a batch does not fit the memory."""

    model: object
    token_budget: int

    def __call__(self, pairs: Sequence[Pair]) -> Iterator[dict[int, Sums]]:
        """Yield the `Sums` of each batch by index in `pairs`. Skips pairs that are not scorable."""
        todo = [i for i, pair in enumerate(pairs) if pair.scorable]
        while todo:
            sizes = [pairs[i].n_tokens for i in todo]
            batch = [todo[position] for position in next(flat_batches(sizes, self.token_budget))]
            sums = self._run([pairs[i] for i in batch])
            if sums is None and len(batch) > 1:
                self._halve(sum(pairs[i].n_tokens for i in batch))
                continue
            yield dict(zip(batch, sums or [Sums(None, None, "out_of_memory")], strict=True))
            done = set(batch)
            todo = [i for i in todo if i not in done]

    def _run(self, batch: Sequence[Pair]) -> list[Sums] | None:
        """The sums of a batch; None if it does not fit the memory."""
        samples = [sample for pair in batch for sample in (pair.alone, pair.conditioned)]
        try:
            nll = forward.summed_nll(self.model, samples)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return [
            Sums(*both) if all(map(math.isfinite, both)) else Sums(None, None, "not_finite")
            for both in zip(nll[0::2], nll[1::2], strict=True)
        ]

    def _halve(self, used: int) -> None:
        self.token_budget = max(1, min(self.token_budget, used) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        progress.say(f"Out of memory: continuing with {self.token_budget:,} tokens per batch.")

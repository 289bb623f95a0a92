"""Scores from the cache, and the rest from a `RowScorer` that runs in this process."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from ..core.store import KeyValueStore, digest
from ..lm import prompts
from .row_scorer import TEXTS, RowScorer
from .rows import Score, with_finite_perplexity

# Statuses that are the same on every machine and so are cached. Other failures are tried again next time.
_CACHED = ("ok", "truncated", "no_target")


@dataclass(frozen=True)
class ScoreCache:
    """Scores by the content of their rows."""

    settings: list  # everything a score depends on besides the text of the row
    prompt: str
    store: KeyValueStore | None

    def keys(self, batch: Mapping[str, Sequence]) -> list[str]:
        """The key of each row: a hash of the settings and its texts."""
        texts = zip(prompts.questions(batch, self.prompt), batch["response"][:], strict=True)
        return [digest(self.settings, *pair) for pair in texts]

    def get(self, keys: Sequence[str]) -> dict[str, Score]:
        """The cached scores of `keys`."""
        stored = self.store.get(keys) if self.store is not None else {}
        return {key: with_finite_perplexity(Score(**json.loads(value))) for key, value in stored.items()}

    def put(self, scores: Mapping[str, Score]) -> None:
        """Cache the scores whose status would be the same on every machine."""
        lasting = {key: score for key, score in scores.items() if score.score_status in _CACHED}
        if self.store is not None and lasting:
            self.store.put({key: json.dumps(asdict(score)).encode() for key, score in lasting.items()})


def scores(batch: Mapping[str, Sequence], scorer: RowScorer, cache: ScoreCache) -> Iterator[dict[int, Score]]:
    """Yield scores by index in `batch`: cached ones first, then each part as soon as it is cached."""
    keys = cache.keys(batch)
    cached = cache.get(keys)
    yield {i: cached[key] for i, key in enumerate(keys) if key in cached}
    todo = [i for i, key in enumerate(keys) if key not in cached]
    if not todo:
        return
    rest = {name: [batch[name][i] for i in todo] for name in TEXTS if name in batch}
    for part in scorer.parts(rest):
        new = {todo[i]: score for i, score in part.items()}
        cache.put({keys[i]: score for i, score in new.items()})
        yield new

"""`RowScorer`: scores a batch of rows with a model, in this process or in a worker on another machine."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain

from ..lm import chat, models, prompts
from .engine import Engine, Sums
from .pairs import Pair, pairs
from .rows import EMPTY, NOT_TEXT, Score, as_score, refused

TEXTS = ("instruction", "response", "dialogue")  # the columns that a score reads; the last is optional


@dataclass(frozen=True)
class ScorerSettings:
    """The settings of a `RowScorer`: the parameters of `wb.score` of the same names, without defaults."""

    model: str
    convention: str
    prompt: str
    dtype: str
    device: str
    max_length: int
    token_budget: int


class RowScorer:
    """Scores batches of rows. A picklable callable: the model is loaded where the first batch needs it.

    >>> scorer = RowScorer(settings)
    >>> scorer({"instruction": ["Add two numbers."], "response": ["a + b"]})["score_status"]
    ['ok']

    No row makes a batch fail: a row that cannot be scored has None as both nll and a `score_status` that says
    why. If a batch does not fit the memory, the token budget is halved, for later batches too.
    """

    def __init__(self, settings: ScorerSettings):
        self.settings = settings

    def __getstate__(self) -> dict:
        return {"settings": self.settings}

    def __call__(self, batch: Mapping[str, Sequence]) -> dict[str, list]:
        """Return the columns `nll_response`, `nll_conditioned` (nats or None), `n_response`, `n_conditioned`
        (tokens) and `score_status` of the rows in `batch`.

        `batch` has the columns `instruction` and `response` and may have `dialogue`, as `wb.load` makes them.
        """
        scores = {i: score for part in self.parts(batch) for i, score in part.items()}
        rows = [scores[i] for i in range(len(scores))]
        return {field.name: [getattr(row, field.name) for row in rows] for field in fields(Score)}

    def parts(self, batch: Mapping[str, Sequence]) -> Iterator[dict[int, Score]]:
        """Yield scores by index in `batch`, part by part as they are computed: rows without a model first."""
        questions, responses = prompts.questions(batch, self.settings.prompt), batch["response"][:]
        unusable = {
            i: score
            for i, text in enumerate(zip(questions, responses, strict=True))
            if (score := _unusable(*text))
        }
        yield unusable
        todo = [i for i in range(len(responses)) if i not in unusable]
        if not todo:
            return
        row_pairs = dict(
            zip(todo, self._pairs([questions[i] for i in todo], [responses[i] for i in todo]), strict=True)
        )
        yield {i: refused(pair.reason) for i, pair in row_pairs.items() if not isinstance(pair, Pair)}
        todo = [i for i in todo if isinstance(row_pairs[i], Pair)]
        no_target = Sums(None, None, "no_target")
        unscorable = {position: no_target for position, i in enumerate(todo) if not row_pairs[i].scorable}
        batches = self._engine([row_pairs[i] for i in todo]) if len(unscorable) < len(todo) else ()
        for part in chain([unscorable], batches):
            yield {
                todo[position]: as_score(row_pairs[todo[position]], sums) for position, sums in part.items()
            }

    def _pairs(
        self, questions: list[prompts.Question], responses: list[str]
    ) -> list[Pair | chat.TemplateRefusal]:
        settings = self.settings
        return chat.or_refusals(
            lambda rows: pairs(
                self.tokenizer,
                questions[rows],
                responses[rows],
                settings.max_length,
                settings.convention,
                settings.prompt,
            ),
            len(questions),
        )

    @functools.cached_property
    def tokenizer(self):
        """The tokenizer of the model."""
        return models.load_tokenizer(self.settings.model)

    @functools.cached_property
    def _engine(self) -> Engine:
        model, _ = models.load_model(self.settings.model, self.settings.dtype, self.settings.device)
        return Engine(model, self.settings.token_budget)


def _unusable(question: prompts.Question | None, response: str | None) -> Score | None:
    """The score of a row without two texts; None for all others."""
    texts = [turn["content"] for turn in question] if isinstance(question, list) else [question]
    if not all(text is None or _is_text(text) for text in [*texts, response]):
        return NOT_TEXT
    blank = not (response and response.strip()) or not any(text and text.strip() for text in texts)
    return EMPTY if blank else None


def _is_text(value: object) -> bool:
    """Whether a cell is a string that UTF-8 can encode; a lone surrogate cannot be."""
    try:
        value.encode()
    except (AttributeError, UnicodeEncodeError):
        return False
    return isinstance(value, str)

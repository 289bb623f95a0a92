"""The cells of a sweep: which rows each trains on, for how long, and under which key its result is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import datasets
import numpy as np

from ..core import tables
from ..core.errors import UserError, derived_seed, number, one_of, positive
from ..core.store import digest
from ..evaluation.quick import HELD_OUT
from ..evaluation.tasks import TITLES
from ..lm import models
from ..lm.prompts import Sample
from ..selection import SETTINGS, STRATEGIES, Candidates, check_ratio, select
from ..training import TrainingSettings
from ..training.schedule import Schedule, tokenized, usable
from .comparisons import ALL, RANDOM_ARMS

# Budget -> the amount that it holds equal; with "epochs", smaller selections train for less.
BUDGETS = {"rows-epochs": "samples", "tokens": "tokens", "steps": "steps", "epochs": None}
RANDOM_DRAWS = 3  # at least, of each random arm
_VERSION = "sweep 1"  # of what a cell's result depends on
_NO_EFFECT = ("save_minutes", "save_steps")  # settings that do not change the trained weights


@dataclass(frozen=True)
class Design:
    """What a sweep varies, and what it holds equal; the section `sweep` of a recipe.

        ratios          shares of the rows in (0, 1]. At 1, all rows are trained on, once per seed
        strategies      names of selection strategies. The first one with a ratio sets the number of rows, and
                        the others keep as many. "random" (as many rows) and "random-tokens" (random rows with
                        as many tokens) are added
        seeds           trainings of each arm and ratio, each with its own seed of training, and of selection
                        if the strategy draws: a number, or a number by strategy (3 for those it lacks). The
                        random arms have 3 draws at least
        budget          what all cells have equal, to within one optimizer step: "rows-epochs" (rows x epochs,
                        i.e. samples seen), "tokens" or "steps"; as much as all rows with the settings'
                        `epochs` and `max_steps`. With "epochs", each cell trains for as many epochs instead
        learning_rates  values to train with; empty: the settings' own
        models          models to train; empty: one
        tasks           benchmarks to measure preference and margin on: "held-out" (the held-out rows, which
                        then need a column `check`), "bundled", "humaneval", "humaneval+", "mbpp", "mbpp+"

    Raises UserError if a value is unknown or out of range.
    """

    ratios: tuple[float, ...] = (0.1, 0.2, 0.4, 1.0)
    strategies: tuple[str, ...] = ("ifd-cluster",)
    seeds: int | dict = 3
    budget: str = "rows-epochs"
    learning_rates: tuple[float, ...] = ()
    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def __post_init__(self):
        for name in ("ratios", "strategies", "learning_rates", "models", "tasks"):
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Sequence):
                raise UserError(f"{name}={values!r} must be a list.")
            object.__setattr__(self, name, tuple(dict.fromkeys(values)))
        for name in ("ratios", "strategies"):
            if not getattr(self, name):
                raise UserError(f"{name} is empty; give at least one.")
        for ratio in self.ratios:
            check_ratio(ratio)
        for strategy in self.strategies:
            one_of("strategies", strategy, STRATEGIES)
        for rate in self.learning_rates:
            number("learning_rates", rate, above=0)
        for task in self.tasks:
            one_of("tasks", task, [HELD_OUT, "bundled", *TITLES])
        one_of("budget", self.budget, BUDGETS)
        for name, seeds in self._seeds.items():
            one_of("seeds", name, [*self.arms, ALL])
            positive("seeds", seeds, most=1000)

    @property
    def arms(self) -> tuple[str, ...]:
        """The strategies and the random arms."""
        return tuple(dict.fromkeys([*self.strategies, *RANDOM_ARMS]))

    @property
    def _seeds(self) -> Mapping[str, int]:
        return self.seeds if isinstance(self.seeds, Mapping) else dict.fromkeys(self.arms, self.seeds)

    def seeds_of(self, arm: str) -> int:
        """The number of trainings of `arm` at each ratio."""
        if arm == ALL and ALL not in self._seeds:
            return max(self.seeds_of(name) for name in self.strategies)
        return max(self._seeds.get(arm, RANDOM_DRAWS), RANDOM_DRAWS if arm in RANDOM_ARMS else 1)

    @property
    def groups(self) -> list[tuple[str, float]]:
        """(arm, ratio) pairs: all rows first, then ratio by ratio."""
        parts = [(arm, ratio) for ratio in sorted(self.ratios) if ratio < 1 for arm in self.arms]
        return [*([(ALL, 1.0)] if 1 in self.ratios else []), *parts]


@dataclass(frozen=True)
class Cell:
    """One training: an arm at a ratio with a seed, a model and a learning rate.

    `key` is a hash of all that the result depends on: cells with equal keys are one training. `rows` names
    the rows in `Plan.rows`. `samples`, `tokens` (without padding) and `steps` are what it will train on.
    """

    arm: str
    ratio: float
    seed: int
    model: str
    learning_rate: float
    rows: str
    n_rows: int
    epochs: float
    samples: int
    tokens: int
    steps: int
    settings: dict
    key: str


@dataclass(frozen=True, eq=False)
class Plan:
    """The cells of a sweep in the order in which they run, and their rows: name -> row numbers of the pool,
    int64 [n_rows]."""

    cells: list[Cell]
    rows: dict[str, np.ndarray]


class _Arms:
    """The rows of each arm; `selection` has settings of `wb.select` for the strategies that read them."""

    def __init__(self, pool: datasets.Dataset, design: Design, selection: Mapping):
        for name in selection:
            one_of("selection", name, ("max_ifd", *SETTINGS))
        self.pool, self.candidates = pool, Candidates(pool, **selection)
        self._selected: dict[tuple, np.ndarray] = {}  # other arms and learning rates need the same rows
        self.first = next((name for name in design.strategies if name != "random-tokens"), "random")

    def rows(self, arm: str, ratio: float, seed: int) -> np.ndarray:
        """Row numbers, int64 [n], ascending. Raises UserError if a strategy keeps no row."""
        if arm == ALL:
            return np.arange(len(self.pool))
        first = self._select(self.first, seed, ratio=ratio)
        if arm == self.first:
            return first
        if arm == "random-tokens":
            return self._select("random", seed, tokens=int(self._lengths[first].sum()))
        return self._select(arm, seed, rows=len(first))

    def _select(self, strategy: str, seed: int, **budget) -> np.ndarray:
        ((name, value),) = budget.items()
        key = strategy, seed, name, value
        if key not in self._selected:
            chosen = select(self.pool, strategy=strategy, seed=seed, **budget, candidates=self.candidates)
            self._selected[key] = chosen.indices
        if not len(kept := self._selected[key]):
            raise UserError(
                f"{strategy!r} keeps none of the {len(self.pool)} rows at {name}={value}; raise it."
            )
        return kept

    @cached_property
    def _lengths(self) -> np.ndarray:
        return tables.array(self.pool, "n_tokens")


def plan_cells(
    pool: datasets.Dataset,
    design: Design,
    settings: TrainingSettings,
    measured_on: str,
    selection: Mapping,
) -> Plan:
    """Plan the cells of a sweep over `pool`, a table with the columns that the strategies read.

    `measured_on` is a hash of the held-out rows and tasks, and `selection` has `max_ifd`, `by`, `lower` and
    `upper` of `wb.select`, each for the strategies that read it. Without a column `n_tokens`, the tokens of
    the first model count.

    Raises UserError like `wb.select`, and if no row of a cell has a response token within `max_length`.
    """
    texts = np.array([digest(*pair) for pair in tables.texts(pool)])
    cells, rows = [], {}
    for model in design.models:
        samples = tokenized(pool, model, settings)
        if "n_tokens" not in pool.column_names:
            lengths = {"n_tokens": [len(sample.input_ids) for sample in samples]}
            pool = tables.with_columns(pool, lengths, {"n_tokens": tables.INT})
        arms, fingerprint = _Arms(pool, design, selection), models.fingerprint(model)
        for rate in design.learning_rates or (settings.learning_rate,):
            target = _Target.of(samples, replace(settings, learning_rate=rate), design.budget)
            for arm, ratio in design.groups:
                for i in range(design.seeds_of(arm)):
                    seed = derived_seed(settings.seed, i)
                    chosen = arms.rows(arm, ratio, seed)
                    name = digest("\n".join(texts[chosen]))
                    rows[name] = chosen
                    own = replace(settings, learning_rate=rate, seed=seed)
                    amounts, own = target.within([samples[row] for row in chosen], own)
                    relevant = {key: value for key, value in asdict(own).items() if key not in _NO_EFFECT}
                    key = digest(_VERSION, fingerprint, name, relevant, measured_on)
                    names = (arm, ratio, seed, model, rate, name, len(chosen))
                    cells.append(Cell(*names, **amounts, settings=asdict(own), key=key))
    return Plan(cells, rows)


@dataclass(frozen=True)
class _Target:
    """The amount of `unit` ("samples", "tokens" or "steps") that each cell trains on; None for no limit."""

    unit: str | None
    amount: int = 0

    @classmethod
    def of(cls, samples: list[Sample], settings: TrainingSettings, budget: str) -> "_Target":
        """As much as all `samples` with these settings."""
        unit = BUDGETS[budget]
        if unit is None:
            return cls(None)
        return cls(unit, int(_amounts(usable(samples, settings)[0], settings)[unit][-1]))

    def within(self, samples: list[Sample], settings: TrainingSettings) -> tuple[dict, TrainingSettings]:
        """What training on `samples` amounts to, and `settings` with the epochs and steps of this budget."""
        samples, _ = usable(samples, settings)
        if self.unit is not None:
            settings = self._limited(samples, replace(settings, max_steps=None, epochs=1))
        amounts = {name: int(sums[-1]) for name, sums in _amounts(samples, settings).items()}
        return amounts | {"epochs": amounts["samples"] / len(samples)}, settings

    def _limited(self, samples: list[Sample], settings: TrainingSettings) -> TrainingSettings:
        """`settings` with the number of steps that is closest to the target."""
        once = _amounts(samples, settings)[self.unit][-1]
        settings = replace(settings, epochs=int(-(-self.amount // once)) + 1)
        distance = np.abs(_amounts(samples, settings)[self.unit] - self.amount)
        steps = int(distance.argmin()) + 1
        ends = np.cumsum([len(plan.batches) for plan in Schedule(samples, settings).plans])
        epochs = int(np.searchsorted(ends, min(steps * settings.accumulation, ends[-1]))) + 1
        return replace(settings, epochs=epochs, max_steps=steps)


def _amounts(samples: list[Sample], settings: TrainingSettings) -> dict[str, np.ndarray]:
    """What is trained on up to the end of each optimizer step, int64 [steps]: samples, tokens and steps."""
    schedule, passes = Schedule(samples, settings), settings.accumulation
    lengths = [len(sample.input_ids) for sample in samples]
    counts = np.cumsum([sum(map(len, batch)) for batch in schedule.batches])
    tokens = np.cumsum([sum(lengths[i] for row in batch for i in row) for batch in schedule.batches])
    ends = np.minimum(np.arange(passes, len(counts) + passes, passes), len(counts)) - 1
    return {"samples": counts[ends], "tokens": tokens[ends], "steps": np.arange(1, len(ends) + 1)}

"""All settings of a study in one place, read from and written to YAML."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import get_args, get_origin

import datasets
import numpy as np
import yaml

from ..cleaning.flagged import Unflagged, check_rules
from ..cleaning.inspection import inspect
from ..complexity import CONVENTIONS, FEATURES, score, variants
from ..core import progress, tables
from ..core.errors import MissingFileError, UserError, one_of, positive, seed_of
from ..data import load
from ..evidence import Design
from ..lm.prompts import SCORING_PROMPTS
from ..selection import (
    BAND,
    IFD,
    SETTINGS,
    STRATEGIES,
    Selection,
    check_by,
    check_ratio,
    check_settings,
    select,
)
from ..space.clustering import cluster
from ..space.embedding import embed
from ..training import TrainingSettings

# Of each stage, the parameters that a recipe sets: parameter -> field of the recipe.
STAGE_FIELDS = {
    "score": {
        "model": "scorer",
        "convention": "convention",
        "prompt": "prompt",
        "dtype": "score_dtype",
        "max_length": "score_max_length",
    },
    "derive": {"variant": "variant", "min_tokens": "min_tokens", "shrinkage": "shrinkage"},
    "embed": {"model": "embedder"},
    "cluster": {"k": "k", "seed": "cluster_seed"},
}


# Fields that are parameters of `wb.load` with the same name.
COLUMN_FIELDS = ("instruction", "response", "input", "system", "dialogue")
DATA_FIELDS = (*COLUMN_FIELDS, "split", "config", "revision", "streaming", "encoding", "limit")


@dataclass(frozen=True)
class Recipe:
    """One study: score, cluster, select, pack, fine-tune, and compare on held-out rows.

    The same YAML file drives notebook, script and command line. `wb.preset` gives the paper's recipes.

    Rows:

        data            anything that `wb.load` takes
        instruction, response, input, system, dialogue
                        names of the columns of `data`, as in `wb.load`; None: recognized
        split, config, revision, streaming, encoding, limit
                        which part of `data` is read and how, as in `wb.load`
        exclude         names of rules of `wb.inspect`, e.g. [leak, refusal], whose rows are left out of the
                        rows to select from; empty by default, [leak] in the preset "quickstart"
        rows            number of rows to use, drawn with `seed`; None uses all
        held_out        how many of them are set aside for the evaluation
        seed            of the draw of rows, and of strategies that draw

    Scores and clusters:

        scorer          model to score with
        score_dtype, score_max_length, convention, prompt, variant, min_tokens, shrinkage
                        as in `wb.score` (there `dtype` and `max_length`, in tokens)
        embedder, k, cluster_seed
                        as in `wb.embed` (`model`) and `wb.cluster` (`k`, `seed`)

    Selection, as in `wb.select`:

        strategy, max_ifd, by, lower, upper
        ratio           the budget, unless one of the next two is given
        keep_rows       a number of rows
        keep_tokens     a number of training tokens
        keep, drop      ids of rows that are kept and left out by hand
        where           column -> value or list of values that rows must have

    Training and evaluation:

        model           model to fine-tune
        training        a `TrainingSettings`
        gpus            number of GPUs that `training` is meant for; an optimizer step sees
                        batch_size x accumulation x gpus samples
        full            also train on all rows
        max_new_tokens  longest answer in the evaluation, in tokens

    Ratios and strategies side by side:

        sweep           an `evidence.Design`: what `workbench sweep` varies

    Raises UserError if a value is out of range or unknown, if both `keep_rows` and `keep_tokens` are given,
    or if `rows` leaves none to train on beside `held_out`. `data`, how it is read, and model names are
    checked on use.
    """

    data: str = "bundled"
    instruction: str | None = None
    response: str | None = None
    input: str | None = None
    system: str | None = None
    dialogue: str | None = None
    split: str = "train"
    config: str | None = None
    revision: str | None = None
    streaming: bool = False
    encoding: str = "utf-8"
    limit: int | None = None
    exclude: tuple[str, ...] = ()
    rows: int | None = None
    held_out: int = 40
    scorer: str = "smollm2-135m"
    score_dtype: str = "auto"
    score_max_length: int | None = None
    convention: str = "paper"
    prompt: str = "paper"
    variant: str = "ppl-ratio"
    min_tokens: int = 1
    shrinkage: float = 0.0
    embedder: str = "all-MiniLM-L6-v2"
    k: int = 10
    cluster_seed: int = 42
    ratio: float = 0.4
    keep_rows: int | None = None
    keep_tokens: int | None = None
    strategy: str = "ifd-cluster"
    max_ifd: float = 1.0
    by: str = IFD
    lower: float = BAND[0]
    upper: float = BAND[1]
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    where: dict = field(default_factory=dict)
    model: str = "smollm2-135m"
    training: TrainingSettings = field(default_factory=TrainingSettings)
    gpus: int = 1
    max_new_tokens: int = 256
    full: bool = False
    sweep: Design = field(default_factory=Design)
    seed: int = 0

    def __post_init__(self):
        check_rules(self.exclude, "exclude")
        check_ratio(self.ratio)
        check_settings(self.strategy, max_ifd=self.max_ifd, **self.score_settings)
        one_of("convention", self.convention, CONVENTIONS)
        one_of("prompt", self.prompt, SCORING_PROMPTS)
        variants.check(self.variant, self.min_tokens, self.shrinkage)
        for name in ("held_out", "k", "gpus", "max_new_tokens"):
            positive(name, getattr(self, name))
        for name in ("score_max_length", "limit", "rows", "keep_rows", "keep_tokens"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        for name in ("seed", "cluster_seed"):
            seed_of(getattr(self, name), name)
        if self.keep_rows and self.keep_tokens:
            raise UserError(
                f"keep_rows={self.keep_rows} and keep_tokens={self.keep_tokens} are two budgets; give one."
            )
        if self.rows is not None and self.rows <= self.held_out:
            raise UserError(f"rows={self.rows} leaves no rows to train on beside held_out={self.held_out}.")

    def to_yaml(self, path: str | Path) -> None:
        """Write all settings, including defaults, so the file stays the same study when defaults change."""
        Path(path).write_text(str(self))

    def __str__(self) -> str:
        """The recipe as YAML."""
        return yaml.safe_dump(asdict(self), sort_keys=False)

    def on(self, gpus: int) -> "Recipe":
        """The same study on another number of GPUs, with as many samples per optimizer step.

        Changes `training.accumulation`. Raises UserError if the batches of a step cannot be shared evenly.
        """
        positive("gpus", gpus)
        passes = self.training.accumulation * self.gpus
        if passes % gpus:
            raise UserError(
                f"gpus={gpus} cannot share the {passes} batches of a step (accumulation="
                f"{self.training.accumulation} on {self.gpus}) evenly; give a number that divides {passes}."
            )
        return replace(self, gpus=gpus, training=replace(self.training, accumulation=passes // gpus))

    def arguments(self, stage: str) -> dict:
        """Keyword arguments of "score", "derive", "embed" or "cluster"."""
        return {parameter: getattr(self, name) for parameter, name in STAGE_FIELDS[stage].items()}

    def load(self, storage_options: dict | None = None) -> datasets.Dataset:
        """`wb.load` of this recipe's data, with its columns and the other `DATA_FIELDS`."""
        settings = {name: getattr(self, name) for name in DATA_FIELDS}
        return load(self.data, storage_options=storage_options, **settings)

    def without_excluded(self, ds: datasets.Dataset) -> tuple[Unflagged, dict[str, str]]:
        """Leave out the rows of `ds` that a rule of `exclude` flags.

        Returns the other rows with the dropped ones, and per rule that could not be checked the reason, e.g.
        that the benchmarks' files are missing. Raises UserError if no row is left.
        """
        report = inspect(ds, self.exclude)
        reasons = {rule: flag.not_checked for rule, flag in report.flags.items() if flag.not_checked}
        rules = [rule for rule in self.exclude if rule not in reasons]
        if not rules:
            return Unflagged(ds, report.rows[["id"]]), reasons
        rows = report.drop(*rules)
        if len(ds) and not len(rows.dataset):
            raise UserError(f"exclude={list(rules)} leaves none of the {len(ds):,} rows; name fewer rules.")
        return rows, reasons

    def of_data(self, data: str, **settings) -> "Recipe":
        """The same study of other data, read with `settings`, some of `DATA_FIELDS`, or their defaults."""
        defaults = {name: getattr(Recipe, name) for name in DATA_FIELDS}
        return replace(self, data=data, **defaults | settings)

    def hold_out(self, ds: datasets.Dataset) -> tuple[datasets.Dataset, datasets.Dataset]:
        """Return the pool to select from and the held-out rows: `rows` rows of `ds`, drawn with `seed`.

        Raises UserError if none is left for the pool.
        """
        order = np.random.default_rng(self.seed).permutation(len(ds))[: self.rows]
        if len(order) <= self.held_out:
            raise UserError(f"held_out={self.held_out} leaves none of the {len(order)} rows to train on.")
        held_out, pool = order[: self.held_out], order[self.held_out :]
        return ds.select(np.sort(pool)), ds.select(np.sort(held_out))

    def score(self, ds: datasets.Dataset) -> datasets.Dataset:
        """`wb.score` with this recipe's settings."""
        settings = self.arguments("score") | self.arguments("derive")
        return score(ds, **settings, template=self.training.template)

    def embed(self, ds: datasets.Dataset) -> datasets.Dataset:
        """`wb.embed` with this recipe's settings."""
        return embed(ds, **self.arguments("embed"))

    def cluster(self, ds: datasets.Dataset) -> datasets.Dataset:
        """`wb.cluster` with this recipe's settings."""
        return cluster(ds, **self.arguments("cluster"))

    @property
    def budget(self) -> dict[str, float]:
        """The budget as a keyword argument of `wb.select`: ratio, rows or tokens."""
        if self.keep_rows or self.keep_tokens:
            return {"rows": self.keep_rows} if self.keep_rows else {"tokens": self.keep_tokens}
        return {"ratio": self.ratio}

    @property
    def score_settings(self) -> dict:
        """`by`, `lower` and `upper` of `wb.select`."""
        return {"by": self.by, "lower": self.lower, "upper": self.upper}

    def with_strategy(self, name: str) -> "Recipe":
        """The same study with another strategy, and those of its score settings that the strategy reads."""
        return replace(self, strategy=name, **SETTINGS | STRATEGIES[name].used(**self.score_settings))

    def prepare(self, ds: datasets.Dataset) -> datasets.Dataset:
        """`ds` with the columns that the selection needs; computes those that are missing.

        Existing scores and embeddings are used as they are. So are clusters, unless their recorded k or seed
        differs from this recipe's.
        """
        of_strategy = STRATEGIES[self.strategy].columns(self.by)
        needed = {*of_strategy, *(["n_tokens"] if self.keep_tokens else [])}
        missing = needed - set(ds.column_names)
        if self.by not in (IFD, *FEATURES, "n_tokens"):
            check_by(ds, self.by)  # before hours of scoring
        if missing & {*FEATURES, "n_tokens"}:
            ds = self.score(ds)
        recorded, settings = tables.noted(ds, "cluster"), self.arguments("cluster")
        differs = bool(recorded) and {name: recorded.get(name) for name in settings} != settings
        recluster = "cluster" in missing or ("cluster" in needed and differs)
        if (recluster or "embedding" in missing) and "embedding" not in ds.column_names:
            ds = self.embed(ds)
        if not recluster:
            return ds
        if differs:
            progress.say(f"clustering again with k={self.k}, seed={self.cluster_seed}")
        return self.cluster(ds)

    def select(self, ds: datasets.Dataset) -> Selection:
        """`wb.select` with this recipe's settings."""
        settings = {"strategy": self.strategy, "max_ifd": self.max_ifd, "seed": self.seed}
        by_hand = {"keep": self.keep, "drop": self.drop, "where": self.where}
        return select(ds, **self.budget, **settings, **self.score_settings, **by_hand)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Recipe":
        """Read a recipe; settings that are absent take their defaults.

        Raises MissingFileError if `path` is not a file, and UserError if it is not valid YAML, has an unknown
        setting, or has a value of the wrong type or out of range.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f"{path} is not a file; give a recipe written by Recipe.to_yaml.")
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}; fix it.") from None
        return _build(cls, {} if settings is None else settings, str(path))


def _build(kind: type, settings: object, label: str):
    """An instance of dataclass `kind`; `label` names the file and setting in errors."""
    if not isinstance(settings, dict):
        raise UserError(f"{label} holds {type(settings).__name__}; write settings as `name: value`.")
    types = {f.name: f.type for f in fields(kind)}
    for name in settings:
        if name not in types:
            raise UserError(f"{label}: {name!r} is not a setting; the settings are {', '.join(types)}.")
    return kind(**{name: _value(types[name], value, f"{label}: {name}") for name, value in settings.items()})


def _value(kind, value: object, label: str):
    """`value` converted to the type of its setting."""
    if is_dataclass(kind):
        return _build(kind, value, label)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_value(get_args(kind)[0], item, label) for item in value)
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        with suppress(ValueError):
            return float(value)  # YAML reads 5e-4, which has no point, as a string
    if not isinstance(value, get_origin(kind) if get_origin(kind) is tuple else kind):
        expected = "list" if get_origin(kind) is tuple else kind.__name__ if isinstance(kind, type) else kind
        raise UserError(f"{label}={value!r} must be of type {expected}.")
    return value

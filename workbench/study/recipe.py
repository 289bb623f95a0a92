"""Every setting of a study in one place, to and from YAML: the same file drives notebook, script and
cluster."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path

import datasets
import yaml

from ..complexity import CONVENTIONS, FEATURES, score, variants
from ..core import progress, tables
from ..core.errors import MissingFileError, UserError, one_of, positive
from ..lm.prompts import SCORING_PROMPTS
from ..selection import STRATEGIES, Selection, check_ratio, select
from ..space.clustering import cluster
from ..space.embedding import embed
from ..training import TrainingSettings


@dataclass(frozen=True)
class Recipe:
    """One study: score, cluster, select, pack, fine-tune, and compare on rows that were held out.

    `data` is anything that `wb.load` takes; `rows` the number of rows to use, drawn by `seed` (None: all);
    `held_out` how many of them are set aside for the evaluation. `scorer` and `model` are model names, the
    second the one to tune; the settings between `score_dtype` and `shrinkage` are those of `wb.score`. `full`
    also trains on all rows. `keep_rows` or `keep_tokens`, a number of rows or of training tokens, takes the
    place of `ratio`. `gpus` is the number that `training` is meant for: an optimizer step sees
    batch_size x accumulation x gpus samples.
    """

    data: str = "bundled"
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
    model: str = "smollm2-135m"
    training: TrainingSettings = field(default_factory=TrainingSettings)
    gpus: int = 1
    max_new_tokens: int = 256
    full: bool = False
    seed: int = 0

    def __post_init__(self):
        check_ratio(self.ratio)
        one_of("strategy", self.strategy, STRATEGIES)
        one_of("convention", self.convention, CONVENTIONS)
        one_of("prompt", self.prompt, SCORING_PROMPTS)
        variants.check(self.variant, self.min_tokens, self.shrinkage)
        for name in ("held_out", "k", "gpus", "max_new_tokens"):
            positive(name, getattr(self, name))
        for name in ("score_max_length", "rows", "keep_rows", "keep_tokens"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        if self.keep_rows and self.keep_tokens:
            raise UserError(
                f"keep_rows={self.keep_rows} and keep_tokens={self.keep_tokens} are two budgets; give one."
            )
        if self.rows is not None and self.rows <= self.held_out:
            raise UserError(f"rows={self.rows} leaves nothing to train on beside held_out={self.held_out}.")

    def to_yaml(self, path: str | Path) -> None:
        """Write all settings, defaults too: a recipe stays the same study when defaults change."""
        Path(path).write_text(str(self))

    def __str__(self) -> str:
        return yaml.safe_dump(asdict(self), sort_keys=False)

    def on(self, gpus: int) -> "Recipe":
        """The same study on another number of GPUs: more or less accumulation, as many samples a step."""
        positive("gpus", gpus)
        passes = self.training.accumulation * self.gpus
        if passes % gpus:
            raise UserError(
                f"gpus={gpus} cannot share the {passes} batches of a step (accumulation="
                f"{self.training.accumulation} on {self.gpus}) evenly; give a number that divides {passes}."
            )
        return replace(self, gpus=gpus, training=replace(self.training, accumulation=passes // gpus))

    def score(self, ds: datasets.Dataset) -> datasets.Dataset:
        """`ds` with its scores, as this recipe wants them."""
        return score(
            ds,
            self.scorer,
            convention=self.convention,
            prompt=self.prompt,
            variant=self.variant,
            min_tokens=self.min_tokens,
            shrinkage=self.shrinkage,
            dtype=self.score_dtype,
            max_length=self.score_max_length,
            template=self.training.template,
        )

    @property
    def budget(self) -> dict[str, float]:
        """What `wb.select` is given: ratio, rows or tokens."""
        if self.keep_rows or self.keep_tokens:
            return {"rows": self.keep_rows} if self.keep_rows else {"tokens": self.keep_tokens}
        return {"ratio": self.ratio}

    def prepare(self, ds: datasets.Dataset) -> datasets.Dataset:
        """`ds` with the columns that the selection needs, those that it lacks made by this recipe.

        Scores and embeddings that are there are taken as they are. So are clusters, unless they are noted to
        be of another k or seed.
        """
        needed = {*STRATEGIES[self.strategy].needs, *(["n_tokens"] if self.keep_tokens else [])}
        missing = needed - set(ds.column_names)
        if missing & {*FEATURES, "n_tokens"}:
            ds = self.score(ds)
        made, wanted = tables.noted(ds, "cluster"), {"k": self.k, "seed": self.cluster_seed}
        other = bool(made) and {name: made.get(name) for name in wanted} != wanted
        again = "cluster" in missing or ("cluster" in needed and other)
        if (again or "embedding" in missing) and "embedding" not in ds.column_names:
            ds = embed(ds, self.embedder)
        if not again:
            return ds
        if other:
            progress.say(f"clustered again: k={self.k}, seed={self.cluster_seed}")
        return cluster(ds, self.k, seed=self.cluster_seed)

    def select(self, ds: datasets.Dataset) -> Selection:
        """The rows of `ds` that this recipe keeps."""
        return select(ds, **self.budget, strategy=self.strategy, max_ifd=self.max_ifd, seed=self.seed)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Recipe":
        """Read settings; absent ones take their defaults, unknown ones are an error."""
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f"{path} is no file; give a recipe written by Recipe.to_yaml.")
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}; mend it.") from None
        return _build(cls, {} if found is None else found, str(path))


def _build(kind, found: object, where: str):
    if not isinstance(found, dict):
        raise UserError(f"{where} holds {type(found).__name__}, not settings by name.")
    known = {f.name: f for f in fields(kind)}
    for name in found:
        if name not in known:
            raise UserError(f"{where}: {name!r} is no setting; the settings are {', '.join(known)}.")
    return kind(
        **{name: _value(known[name].type, value, f"{where}: {name}") for name, value in found.items()}
    )


def _value(kind, found: object, where: str):
    """`found` as the type of its setting."""
    if is_dataclass(kind):
        return _build(kind, found, where)
    if kind is float and isinstance(found, (int, str)) and not isinstance(found, bool):
        with suppress(ValueError):
            return float(found)  # YAML takes 5e-4, without a point, for a text
    if not isinstance(found, kind):
        wanted = kind.__name__ if isinstance(kind, type) else kind
        raise UserError(f"{where}={found!r} must be of type {wanted}.")
    return found

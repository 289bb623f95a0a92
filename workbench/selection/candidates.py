"""The columns that strategies read, each loaded once."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real

import datasets
import numpy as np

from .. import coverage
from ..core import tables
from ..core.errors import UserError, shown

POOLS = ("all", "eligible")
MAX_IFD = 1.0  # from here on, the instruction does not make the response likelier
IFD = "ifd"
BAND = (0.25, 0.75)  # quantiles of the score within a cluster


@dataclass(frozen=True, eq=False)
class Candidates:
    """The rows of `source` to select from, n of them, and their columns, read on first use.

    `max_ifd`, `by`, `lower` and `upper` are those of `wb.select`. Pass one instance to several calls of
    `wb.select` to read the columns once; `dataclasses.replace(candidates, by="my_score")` shares what has
    been read. `cache` holds what is computed from the columns.

    Raises UserError if `max_ifd` or the band is out of range, or if `max_ifd` is given beside another `by`.
    """

    source: datasets.Dataset
    max_ifd: float = MAX_IFD
    by: str = IFD
    lower: float = BAND[0]
    upper: float = BAND[1]
    cache: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        check_scores(self.max_ifd, self.by, self.lower, self.upper)

    def __len__(self) -> int:
        return len(self.source)

    def of(self, rows: np.ndarray) -> "Candidates":
        """The candidates `rows` alone, int [m], with the same settings."""
        columns = {name: values[rows] for name, values in self.cache.items() if name[0] == "column"}
        return replace(self, source=self.source.select(rows), cache=columns)

    def cached(self, key: object, compute: Callable[[], object]):
        """The result of `compute`, which depends on the columns and on what `key` names alone."""
        if key not in self.cache:
            self.cache[key] = compute()
        return self.cache[key]

    def column(self, name: str) -> np.ndarray:
        """Column `name` as an array [n]; missing numbers are NaN."""
        return self.cached(("column", name), lambda: tables.array(self.source, name))

    @cached_property
    def ifd(self) -> np.ndarray:
        """float64 [n]; NaN for rows without a score."""
        if "ifd" not in self.source.column_names:
            return np.full(len(self), np.nan)
        return self.column("ifd").astype(float)

    @cached_property
    def score(self) -> np.ndarray:
        """The column `by`, which ranks rows in place of IFD, as float64 [n]; NaN for rows without a value.

        Raises UserError if the column is missing, does not hold numbers, or holds an infinite one or none.
        """
        return self.ifd if self.by == IFD else self.cached(("score", self.by), self._read_score)

    def _read_score(self) -> np.ndarray:
        check_by(self.source, self.by)
        values = self.column(self.by).astype(float)
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            raise UserError(
                f"by={self.by!r}: row {infinite[0]} of this column holds {values[infinite[0]]}; replace it "
                "by a finite number, or by None to leave the row out."
            )
        if len(values) and np.isnan(values).all():
            raise UserError(f"by={self.by!r}: this column has no number in any of the {len(values):,} rows.")
        return values

    def score_of(self, row: int) -> str:
        """The score of `row` with its name, e.g. "IFD 0.8312"."""
        return f"IFD {self.ifd[row]:.4f}" if self.by == IFD else f"{self.by} {self.score[row]:g}"

    @cached_property
    def cluster(self) -> np.ndarray:
        """Cluster labels, int [n]; all 0 without a column `cluster`."""
        has_clusters = "cluster" in self.source.column_names
        return self.column("cluster") if has_clusters else np.zeros(len(self), int)

    @property
    def clusters(self) -> coverage.Partition:
        """`cluster` as a partition of the rows."""
        return self.cached("clusters", lambda: coverage.Partition.of(self.cluster))

    @cached_property
    def eligible(self) -> np.ndarray:
        """bool [n]: the row has an IFD, and it is below `max_ifd`; or, by another column, it has a value."""
        if self.by != IFD:
            return ~np.isnan(self.score)
        with np.errstate(invalid="ignore"):
            return self.ifd < self.max_ifd  # False for NaN

    @cached_property
    def n_eligible(self) -> int:
        return int(self.eligible.sum())

    def pool(self, name: str) -> np.ndarray:
        """bool [n]: the rows of pool "all" or "eligible"."""
        return self.eligible if name == "eligible" else np.ones(len(self), bool)

    @cached_property
    def mean_ifd(self) -> float | None:
        return mean(self.ifd)

    @cached_property
    def tokens(self) -> np.ndarray | None:
        """Training length of each row in tokens, int [n]; None without a column `n_tokens`."""
        return self.column("n_tokens") if "n_tokens" in self.source.column_names else None

    @property
    def embedding(self) -> np.ndarray | None:
        """float32 [n, d] of unit length, not copied from the table; None without a column `embedding`."""
        return self.cached("embedding", lambda: coverage.read_embedding(self.source))

    @property
    def space(self) -> coverage.Space:
        """The columns that coverage is measured on."""
        return self.cached("space", lambda: coverage.prepare(self.source, self.embedding, self.tokens))


def check_by(ds: datasets.Dataset, by: str) -> None:
    """Raise UserError, with the numeric columns in the message, unless column `by` of `ds` holds numbers."""
    if by not in ds.column_names or not _is_numeric(ds.features[by]):
        problem = "holds no numbers" if by in ds.column_names else "is missing from the dataset"
        names = ", ".join(numeric_columns(ds)) or "none"
        raise UserError(f"by={by!r}: this column {problem}; name a numeric one (there are: {names}).")


def numeric_columns(ds: datasets.Dataset) -> list[str]:
    """Names of the columns that hold one number in each row."""
    return [name for name, feature in ds.features.items() if _is_numeric(feature)]


def _is_numeric(feature: object) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype.startswith(("int", "uint", "float"))


def check_scores(max_ifd: float, by: str, lower: float, upper: float) -> None:
    """Raise UserError unless 0 < `max_ifd`, 0 <= lower < upper <= 1, and `by` and `max_ifd` go together."""
    if isinstance(max_ifd, bool) or not isinstance(max_ifd, Real) or not max_ifd > 0:
        raise UserError(f"max_ifd={shown(max_ifd)} must be a number above 0.")
    if not isinstance(by, str):
        raise UserError(f"by={shown(by)} must be the name of a numeric column.")
    if by != IFD and max_ifd != MAX_IFD:
        raise UserError(
            f"max_ifd={max_ifd!r} bounds IFD, but by={by!r} takes its place; leave one of them out."
        )
    for name, value in (("lower", lower), ("upper", upper)):
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
            raise UserError(
                f"{name}={value!r} must be a quantile from 0 to 1, e.g. lower=0.25 and upper=0.75 for the "
                "middle half of each cluster."
            )
    if not lower < upper:
        raise UserError(f"lower={lower!r} must be below upper={upper!r}: no row lies in this band.")


def mean(values: np.ndarray) -> float | None:
    """Mean of the values that are not NaN; None if there are none."""
    scored = values[~np.isnan(values)]
    return float(scored.mean()) if len(scored) else None

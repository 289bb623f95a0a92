"""The columns that strategies read, each loaded once."""

from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real

import datasets
import numpy as np

from .. import coverage
from ..core import tables
from ..core.errors import UserError

POOLS = ("all", "eligible")


@dataclass(frozen=True, eq=False)
class Candidates:
    """The rows of `source` to select from, n of them, and their columns, read on first use.

    Pass one instance to several calls of `wb.select` to read the columns once. `cache` holds what strategies
    computed from these columns for later calls.
    """

    source: datasets.Dataset
    max_ifd: float = 1.0
    cache: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        if isinstance(self.max_ifd, bool) or not isinstance(self.max_ifd, Real) or not self.max_ifd > 0:
            raise UserError(f"max_ifd={self.max_ifd!r} must be a number above 0.")

    def __len__(self) -> int:
        return len(self.source)

    def column(self, name: str) -> np.ndarray:
        """Column `name` as an array [n]; missing numbers are NaN."""
        key = ("column", name)
        if key not in self.cache:
            self.cache[key] = tables.array(self.source, name)
        return self.cache[key]

    @cached_property
    def ifd(self) -> np.ndarray:
        """float64 [n]; NaN for rows without a score."""
        if "ifd" not in self.source.column_names:
            return np.full(len(self), np.nan)
        return self.column("ifd").astype(float)

    @cached_property
    def cluster(self) -> np.ndarray:
        """Cluster labels, int [n]; all 0 without a column `cluster`."""
        has_clusters = "cluster" in self.source.column_names
        return self.column("cluster") if has_clusters else np.zeros(len(self), int)

    @cached_property
    def clusters(self) -> coverage.Partition:
        """`cluster` as a partition of the rows."""
        return coverage.Partition.of(self.cluster)

    @cached_property
    def eligible(self) -> np.ndarray:
        """bool [n]: the row has a score, and it is below `max_ifd`."""
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

    @cached_property
    def embedding(self) -> np.ndarray | None:
        """float32 [n, d] of unit length, not copied from the table; None without a column `embedding`."""
        return coverage.read_embedding(self.source)

    @cached_property
    def space(self) -> coverage.Space:
        """The columns that coverage is measured on."""
        return coverage.prepare(self.source, self.embedding, self.tokens)


def mean(values: np.ndarray) -> float | None:
    """Mean of the values that are not NaN; None if there are none."""
    scored = values[~np.isnan(values)]
    return float(scored.mean()) if len(scored) else None

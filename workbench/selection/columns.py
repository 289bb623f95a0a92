"""The columns that strategies look at, each read once."""

from dataclasses import dataclass, field
from functools import cached_property

import datasets
import numpy as np

from .. import coverage
from ..core import tables


@dataclass(frozen=True)
class Candidates:
    """Rows to choose among, `source`, and their columns, each [n] and read when first asked for.

    `kept_results` holds what strategies computed from these columns and will need again.
    """

    source: datasets.Dataset
    max_ifd: float
    kept_results: dict = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.source)

    def column(self, name: str) -> np.ndarray:
        """Any column as an array, nulls of numbers as NaN."""
        key = ("column", name)
        if key not in self.kept_results:
            self.kept_results[key] = tables.array(self.source, name)
        return self.kept_results[key]

    @cached_property
    def ifd(self) -> np.ndarray:
        """float64; NaN where a row has no score."""
        has = "ifd" in self.source.column_names
        return self.column("ifd").astype(float) if has else np.full(len(self), np.nan)

    @cached_property
    def cluster(self) -> np.ndarray:
        """Labels; one for all rows where there are no clusters."""
        has = "cluster" in self.source.column_names
        return self.column("cluster") if has else np.zeros(len(self), int)

    @cached_property
    def clusters(self) -> coverage.Partition:
        return coverage.Partition.of(self.cluster)

    @cached_property
    def eligible(self) -> np.ndarray:
        """bool: scored, and below max_ifd."""
        with np.errstate(invalid="ignore"):
            return self.ifd < self.max_ifd  # NaN is below nothing

    @cached_property
    def n_eligible(self) -> int:
        return int(self.eligible.sum())

    @cached_property
    def mean_ifd(self) -> float | None:
        return mean(self.ifd)

    @cached_property
    def tokens(self) -> np.ndarray | None:
        """Training length of each row, `n_tokens`; null without that column."""
        return self.column("n_tokens") if "n_tokens" in self.source.column_names else None

    @cached_property
    def embedding(self) -> np.ndarray | None:
        """[n, d] float32 of unit length, in the table's own memory; null without that column."""
        return coverage.read_embedding(self.source)

    @cached_property
    def space(self) -> coverage.Space:
        """What coverage is measured in."""
        return coverage.prepare(self.source, self.embedding, self.tokens)


def mean(values: np.ndarray) -> float | None:
    """Mean of what is no NaN; null for nothing."""
    scored = values[~np.isnan(values)]
    return float(scored.mean()) if len(scored) else None


def candidates_of(ds: datasets.Dataset, max_ifd: float = 1.0) -> Candidates:
    """The columns of `ds` that strategies look at."""
    return Candidates(ds, max_ifd)

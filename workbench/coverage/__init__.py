"""Measure how well a selection represents the whole dataset, by its columns and in embedding space."""

from .prefix import Prefixes
from .report import Coverage
from .shares import Partition, cluster_shares, jensen_shannon
from .space import Space, Sums, prepare, read_embedding

__all__ = [
    "Coverage",
    "Partition",
    "Prefixes",
    "Space",
    "Sums",
    "cluster_shares",
    "jensen_shannon",
    "prepare",
    "read_embedding",
]

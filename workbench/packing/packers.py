"""The built-in packing strategies.

Each maps `items` int32 [n], in the order of the epoch, and `sizes` (tokens, indexed by item) to `Rows`. "bfd"
and "exact" pack over the whole set, and `pack` assigns their rows to batches. The others pack within a batch,
so each step sees the same samples as without packing.
"""

import numpy as np

from .plan import Rows
from .registry import packer


@packer("pad")
@packer("max", to_max=True)
def alone(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """One row per sample."""
    return Rows(items, np.arange(len(items) + 1), _batches(len(items), batch_size))


@packer("flat")
def flat(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """One row per batch, as long as all its samples together, without padding."""
    bounds = _batches(len(items), batch_size)
    return Rows(items, bounds, np.arange(len(bounds)))


@packer("dynamic")
def dynamic(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """Shortest first; a new row starts when the next sample does not fit (arXiv 2504.12687, section 4.2)."""
    from . import kernels

    items = _sorted_in_batches(items, sizes, capacity, batch_size)
    return Rows(items, *kernels.in_order(items, batch_size, sizes, capacity))


@packer("balanced")
def balanced(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """Longest first into the row with the fewest tokens; the number of rows minimizes padding."""
    from . import kernels

    items = _sorted_in_batches(items, capacity - sizes, capacity, batch_size)
    return Rows(*kernels.balance(items, batch_size, sizes, capacity))


@packer("bfd", whole_set=True)
def best_fit_decreasing(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """Longest first into the fullest row in which the sample fits (best-fit decreasing)."""
    from . import kernels

    longest_first, _ = kernels.counting_sort(items, capacity - sizes, capacity + 1)
    row_of, n_rows = kernels.best_fit(longest_first, sizes, capacity)
    return _one_batch(*kernels.counting_sort(longest_first, row_of, n_rows))


@packer("exact", whole_set=True)
def exact(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """The longest sample left plus one to three samples that fill its row exactly.

    If no such samples are left, the longest one that fits is added and the search repeats. The algorithm
    works on a histogram of lengths, not on single samples.
    """
    from . import kernels

    return _one_batch(*kernels.exact_fill(*kernels.counting_sort(items, sizes, capacity + 1), capacity))


def _batches(n: int, batch_size: int) -> np.ndarray:
    """Bounds [n_batches + 1] of batches of consecutive items."""
    return np.append(np.arange(0, n, batch_size), n)


def _sorted_in_batches(items: np.ndarray, keys: np.ndarray, max_key: int, batch_size: int) -> np.ndarray:
    """Sort the items of each batch by `keys[item]`, ascending and stable, in linear time."""
    from . import kernels

    batch_of = np.empty(len(items), np.int32)
    batch_of[items] = np.arange(len(items)) // batch_size
    by_key, _ = kernels.counting_sort(items, keys, max_key + 1)
    return kernels.counting_sort(by_key, batch_of, -(-len(items) // batch_size))[0]


def _one_batch(items: np.ndarray, bounds: np.ndarray) -> Rows:
    return Rows(items, bounds, np.array([0, len(bounds) - 1]))

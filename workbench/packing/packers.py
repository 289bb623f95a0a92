"""The strategies: items and their sizes -> rows.

Those that pack inside a batch leave each step the samples that it would see unpacked. `bfd` and `exact` pack
over the whole set and leave it to `pack` to deal the rows out to batches.
"""

import numpy as np

from .plan import Rows
from .registry import packer


@packer("pad")
@packer("max", to_max=True)
def alone(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """A row for each sample."""
    return Rows(items, np.arange(len(items) + 1), _batches(len(items), batch_size))


@packer("flat")
def flat(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """One row for each batch, as long as its samples together: nothing to pad."""
    bounds = _batches(len(items), batch_size)
    return Rows(items, bounds, np.arange(len(bounds)))


@packer("dynamic")
def dynamic(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """Shortest first; a row closes when the next would overfill it (arXiv 2504.12687, section 4.2)."""
    from . import kernels

    items = _sorted_in_batches(items, sizes, capacity, batch_size)
    return Rows(items, *kernels.in_order(items, batch_size, sizes, capacity))


@packer("balanced")
def balanced(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """Longest first, each into the least loaded of as many rows as leave least padding."""
    from . import kernels

    items = _sorted_in_batches(items, capacity - sizes, capacity, batch_size)
    return Rows(*kernels.balance(items, batch_size, sizes, capacity))


@packer("bfd", whole_set=True)
def best_fit_decreasing(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """Longest first, each into the fullest row that still takes it."""
    from . import kernels

    longest_first, _ = kernels.counting_sort(items, capacity - sizes, capacity + 1)
    row_of, n_rows = kernels.best_fit(longest_first, sizes, capacity)
    return _in_one(*kernels.counting_sort(longest_first, row_of, n_rows))


@packer("exact", whole_set=True)
def exact(items: np.ndarray, sizes: np.ndarray, capacity: int, batch_size: int) -> Rows:
    """The longest left, and one to three others that fill its row to the token; where none do, the longest
    that fits, and again. Works on how many samples of each length are left, not on samples."""
    from . import kernels

    return _in_one(*kernels.exact_fill(*kernels.counting_sort(items, sizes, capacity + 1), capacity))


def _batches(n: int, batch_size: int) -> np.ndarray:
    """Bounds of batches of consecutive items."""
    return np.append(np.arange(0, n, batch_size), n)


def _sorted_in_batches(items: np.ndarray, keys: np.ndarray, most: int, batch_size: int) -> np.ndarray:
    """`items` with those of each batch by `keys[item]`, ascending: two stable passes of linear time."""
    from . import kernels

    batch_of = np.empty(len(items), np.int32)
    batch_of[items] = np.arange(len(items)) // batch_size
    by_key, _ = kernels.counting_sort(items, keys, most + 1)
    return kernels.counting_sort(by_key, batch_of, -(-len(items) // batch_size))[0]


def _in_one(items: np.ndarray, bounds: np.ndarray) -> Rows:
    return Rows(items, bounds, np.array([0, len(bounds) - 1]))

"""Registry of the packing strategies."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .plan import Rows

# (items in the order of the epoch, sizes in tokens by item, max_length in tokens, batch_size) -> Rows
PackFunction = Callable[[np.ndarray, np.ndarray, int, int], Rows]

PACKERS: dict[str, "Packer"] = {}


@dataclass(frozen=True)
class Packer:
    """A registered packing strategy.

    With `whole_set`, `pack` fills rows from the whole epoch and the rows are assigned to batches afterwards.
    Otherwise it returns batches of `batch_size` consecutive items. With `to_max`, rows are padded to
    `max_length` instead of the longest row of their batch.
    """

    name: str
    pack: PackFunction
    whole_set: bool
    to_max: bool


def packer(
    name: str, *, whole_set: bool = False, to_max: bool = False
) -> Callable[[PackFunction], PackFunction]:
    """Register the decorated function as packing strategy `name`. See `Packer` for the options."""

    def register(function: PackFunction) -> PackFunction:
        PACKERS[name] = Packer(name, function, whole_set, to_max)
        return function

    return register

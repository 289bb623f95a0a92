"""The packing strategies by name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .plan import Rows

# (items in the order of the epoch, sizes in tokens by item, max_length, batch_size) -> Rows
Pack = Callable[[np.ndarray, np.ndarray, int, int], Rows]

PACKERS: dict[str, "Packer"] = {}


@dataclass(frozen=True)
class Packer:
    """`whole_set`: packs over the whole epoch, so `pack` deals out the rows to batches afterwards; else the
    batches are made of consecutive items, as unpacked. `to_max`: rows are padded to max_length."""

    name: str
    pack: Pack
    whole_set: bool
    to_max: bool


def packer(name: str, *, whole_set: bool = False, to_max: bool = False) -> Callable[[Pack], Pack]:
    """Register the decorated function as packing strategy `name`; see `Packer` for what it may say."""

    def register(function: Pack) -> Pack:
        PACKERS[name] = Packer(name, function, whole_set, to_max)
        return function

    return register

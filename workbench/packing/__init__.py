"""Packing: plan which samples share a row and which rows share a batch.

Only integers are involved, no tensors. A packing strategy is a function that assigns items to rows; the
decorator `packer` registers it.
"""

from . import packers  # noqa: F401  registers the built-in packers
from .overlong import OVERLONG, Pieces
from .pack import MOST_TOKENS, pack
from .plan import PackPlan, Row, Rows
from .registry import PACKERS, Packer, packer

__all__ = [
    "MOST_TOKENS",
    "OVERLONG",
    "PACKERS",
    "PackPlan",
    "Packer",
    "Pieces",
    "Row",
    "Rows",
    "pack",
    "packer",
]

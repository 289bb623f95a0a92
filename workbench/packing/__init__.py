"""Lengths -> which samples share a row, and which rows share a batch. Integers only, no tensors.

A strategy is one function that lays items into rows; `strategy` registers it.
"""

from . import packers  # noqa: F401  they register themselves
from .overlong import OVERLONG, Pieces
from .pack import pack
from .plan import PackPlan, Row, Rows
from .registry import PACKERS, Packer, packer

__all__ = ["OVERLONG", "PACKERS", "PackPlan", "Packer", "Pieces", "Row", "Rows", "pack", "packer"]

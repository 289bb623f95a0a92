"""Dropout for CPUs: masks from cheap random bits."""

import torch
from torch import nn

_LEVELS = 1 << 16  # a mask element is decided by 16 random bits
_MIX = 0xBF58476D1CE4E5B9 - (1 << 64)  # a multiplier of the SplitMix64 generator, as a signed integer
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by their size in bytes


class Dropout(nn.Dropout):
    """`nn.Dropout` whose masks on a CPU take a fraction of the time and no memory.

    PyTorch draws the mask of a CPU tensor one number at a time, which in a LoRA training takes longer
    than the adapters themselves. See `Mask` for how this module does it. The backward pass makes the mask
    again instead of keeping it.

    All randomness comes from PyTorch's default generator: a seed, or a restored state of the generator, gives
    the same masks again. An element is dropped with probability round(p * 65536) / 65536. The others are
    divided by the exact rest, so the expectation is the input.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.inplace or x.device.type != "cpu" or not 0 < self.p < 1 or not x.dim():
            return super().forward(x)
        return _Dropout.apply(x, Mask(x.shape, self.p))


class Mask:
    """Which elements of a tensor of `shape` are dropped, each with probability `p`.

    Each row and each four columns draw a random 64-bit integer. The hash of the sum of the two decides the
    four elements where they meet, 16 bits each.

    `scale` is by how much the kept elements grow.
    """

    def __init__(self, shape: torch.Size, p: float):
        columns = shape[-1]
        rows = shape.numel() // max(1, columns)
        drawn = torch.empty(rows + -(-columns // 4), dtype=torch.int64).random_(-(1 << 63), (1 << 63) - 1)
        self.shape, self.of_row, self.of_columns = shape, drawn[:rows, None], drawn[rows:]
        self.n_dropped = round(p * _LEVELS)
        self.scale = _LEVELS / (_LEVELS - self.n_dropped)

    def bits(self, dtype: torch.dtype) -> torch.Tensor:
        """Return integers as wide as `dtype`: all bits 1 where an element is kept, 0 where it is dropped."""
        words = self.of_row + self.of_columns
        words.bitwise_xor_(words >> 32).mul_(_MIX)
        kept = words.view(torch.int16).ge_(self.n_dropped - _LEVELS // 2).neg_()
        return kept[:, : self.shape[-1]].reshape(self.shape).to(_INTEGERS[dtype.itemsize])


def keep(x: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Return `x` with zeros where `bits` are 0. A bitwise "and" is many times faster than `torch.where`."""
    return (x.contiguous().view(bits.dtype) & bits).view(x.dtype)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mask: Mask):
        ctx.mask = mask
        return keep(x, mask.bits(x.dtype)).mul_(mask.scale)

    @staticmethod
    def backward(ctx, gradient):
        return keep(gradient, ctx.mask.bits(gradient.dtype)).mul_(ctx.mask.scale), None


def replace_dropout(model: nn.Module) -> None:
    """Put a `Dropout` in place of each `nn.Dropout` in `model`. It has no weights to save."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p, child.inplace))

"""Dropout for CPUs: masks from cheap random bits."""

import torch
from torch import nn

_LEVELS = 1 << 16  # a mask element is decided by 16 random bits


class Dropout(nn.Dropout):
    """`nn.Dropout` whose masks on a CPU take a fraction of the time.

    PyTorch draws the mask of a CPU tensor one number at a time, which in a LoRA training takes longer
    than the adapters themselves. This module cuts each 64-bit random integer into four mask elements.

    As in PyTorch, elements are independent and come from the default generator: a seed, or a restored state
    of the generator, gives the same masks again. An element is dropped with probability
    round(p * 65536) / 65536. The others are divided by the exact rest, so the expectation is the input.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.inplace or x.device.type != "cpu" or not 0 < self.p < 1:
            return super().forward(x)
        return _Dropout.apply(x, round(self.p * _LEVELS))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, n_dropped: int):
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), (1 << 63) - 1)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = bits >= n_dropped - _LEVELS // 2
        ctx.save_for_backward(kept)
        ctx.scale = _LEVELS / (_LEVELS - n_dropped)
        return torch.where(kept, x, 0).mul_(ctx.scale)

    @staticmethod
    def backward(ctx, gradient):
        (kept,) = ctx.saved_tensors
        return torch.where(kept, gradient, 0).mul_(ctx.scale), None


def replace_dropout(model: nn.Module) -> None:
    """Put a `Dropout` in place of each `nn.Dropout` in `model`. It has no weights to save."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p, child.inplace))

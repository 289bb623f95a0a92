"""Cross-entropy behind a linear head without its logits: chunk by chunk, gradients found on the way forward.

A vocabulary is so much larger than a hidden state that the logits of a batch, with their gradient and what a
plain loss keeps in between, take more memory than a small model's layers. Here a chunk's logits become its
probabilities, then its gradient, in the same memory, and are gone before the next chunk.
"""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

_CHUNK_BYTES = 2**26  # of fp32 logits at once: small beside the layers, large enough for fast products


def summed(head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum (nats) of the cross-entropy of `targets` [n] under `head(hidden)`, hidden [n, d]; fp32.

    A head that is more than a plain linear layer, one with an adapter, say, goes by chunks too, and its
    logits are computed again on the way back.
    """
    if type(head) is torch.nn.Linear:
        return _Fused.apply(hidden, head.weight, head.bias, targets)
    rows = _rows(head.weight.shape[0])
    chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
    return torch.stack([checkpoint(_plain, head, h, t, use_reentrant=False) for h, t in chunks]).sum()


def _plain(head, hidden, targets) -> torch.Tensor:
    return F.cross_entropy(head(hidden).float(), targets, reduction="sum")


def _rows(vocabulary: int) -> int:
    """Positions in one chunk."""
    return max(16, _CHUNK_BYTES // (4 * vocabulary))


class _Fused(torch.autograd.Function):
    """Gradients of a sum are known but for the factor that comes back; backward only multiplies by it."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets):
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else weight.dtype
        wanted = ctx.needs_input_grad[:3]
        grads = [
            torch.zeros_like(t) if want else None
            for t, want in zip((hidden, weight, bias), wanted, strict=True)
        ]
        with torch.autocast(device, enabled=False):
            total = _by_chunks(hidden, weight.to(dtype), bias, targets, grads)
        ctx.grads = grads
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, factor):
        grads, ctx.grads = ctx.grads, None
        return *(None if grad is None else grad.mul_(factor) for grad in grads), None


def _by_chunks(hidden, weight, bias, targets, grads) -> torch.Tensor:
    """The summed loss; adds to `grads` of hidden, weight and bias where they are not None."""
    of_hidden, of_weight, of_bias = grads
    total, rows = hidden.new_zeros((), dtype=torch.float32), _rows(len(weight))
    for start in range(0, len(targets), rows):
        some = slice(start, start + rows)
        states, at = hidden[some].to(weight.dtype), targets[some, None]
        logits = F.linear(states, weight, None if bias is None else bias.to(weight.dtype)).float()
        logits -= logits.amax(1, keepdim=True)
        found = logits.gather(1, at)
        sums = logits.exp_().sum(1, keepdim=True)
        total += (sums.log() - found).sum()
        # The gradient of the logits: probabilities, less one at the target.
        logits /= sums
        logits.scatter_add_(1, at, torch.full_like(found, -1))
        change = logits.to(weight.dtype)
        if of_hidden is not None:
            of_hidden[some] = change @ weight
        if of_weight is not None:
            _add_product(of_weight, change.T, states)
        if of_bias is not None:
            of_bias += logits.sum(0)
    return total


def _add_product(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """total += a @ b, whatever the precision of the product."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b

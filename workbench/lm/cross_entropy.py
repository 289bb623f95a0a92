"""Cross-entropy of a linear head in chunks, without ever holding all logits.

A vocabulary is so much larger than a hidden state that the logits of a batch and their gradient take more
memory than the layers of a small model. Here the logits of a chunk become its probabilities and then its
gradient in the same memory, which is free before the next chunk. Gradients are computed in the forward pass.
"""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

_CHUNK_BYTES = 2**26  # float32 logits of a chunk: small next to the layers, large enough for fast products


class LossHead(torch.nn.Linear):
    """The output layer of a language model, which also computes the loss of its own logits.

    Sharding gathers the weights of a layer when it is called, so the loss is computed in that call.
    """

    def forward(self, hidden: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Logits [n, vocabulary] of hidden [n, d]; with `targets` [n], the loss of `summed`."""
        if targets is None:
            return super().forward(hidden)
        return _Fused.apply(hidden, self.weight, self.bias, targets)

    @classmethod
    def adopt(cls, head: torch.nn.Module) -> None:
        """Make `head` a `LossHead` if it is a plain linear layer. Its weights and their names stay."""
        if type(head) is torch.nn.Linear:
            head.__class__ = cls


def summed(head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy (nats, float32 scalar) of `targets` [n] given `head(hidden)`, with hidden [n, d].

    A head other than a plain `nn.Linear`, e.g. one with an adapter, runs in chunks too; the backward pass
    recomputes its logits.
    """
    if isinstance(head, LossHead):
        return head(hidden, targets)
    if type(head) is torch.nn.Linear:
        return _Fused.apply(hidden, head.weight, head.bias, targets)
    rows = _rows(head.weight.shape[0])
    chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
    return torch.stack([checkpoint(_plain, head, h, t, use_reentrant=False) for h, t in chunks]).sum()


def _plain(head, hidden, targets) -> torch.Tensor:
    return F.cross_entropy(head(hidden).float(), targets, reduction="sum")


def _rows(vocabulary: int) -> int:
    """Positions per chunk."""
    return max(16, _CHUNK_BYTES // (4 * vocabulary))


class _Fused(torch.autograd.Function):
    """The gradients are known in `forward` up to a factor, by which `backward` multiplies them."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets):
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else weight.dtype
        needed = ctx.needs_input_grad[:3]
        # Of the weights, gradients are sums over chunks, for which 16 bits are too few.
        grads = [
            torch.zeros_like(t, dtype=t.dtype if t is hidden else torch.float32) if need else None
            for t, need in zip((hidden, weight, bias), needed, strict=True)
        ]
        with torch.autocast(device, enabled=False):
            total = _by_chunks(hidden, weight.to(dtype), bias, targets, grads)
        ctx.grads = [
            None if grad is None else grad.to(t.dtype)
            for grad, t in zip(grads, (hidden, weight, bias), strict=True)
        ]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, factor):
        grads, ctx.grads = ctx.grads, None
        return *(None if grad is None else grad.mul_(factor) for grad in grads), None


def _by_chunks(hidden, weight, bias, targets, grads) -> torch.Tensor:
    """The summed loss. Adds to `grads`, those of hidden, weight and bias, unless they are None."""
    hidden_grad, weight_grad, bias_grad = grads
    total, rows = hidden.new_zeros((), dtype=torch.float32), _rows(len(weight))
    for start in range(0, len(targets), rows):
        chunk = slice(start, start + rows)
        states, tokens = hidden[chunk].to(weight.dtype), targets[chunk, None]
        logits = F.linear(states, weight, None if bias is None else bias.to(weight.dtype)).float()
        logits -= logits.amax(1, keepdim=True)
        target_logits = logits.gather(1, tokens)
        sums = logits.exp_().sum(1, keepdim=True)
        total += (sums.log() - target_logits).sum()
        # The gradient of the logits: their probabilities, minus one at the target.
        logits /= sums
        logits.scatter_add_(1, tokens, torch.full_like(target_logits, -1))
        logits_grad = logits.to(weight.dtype)
        if hidden_grad is not None:
            hidden_grad[chunk] = logits_grad @ weight
        if weight_grad is not None:
            _add_product(weight_grad, logits_grad.T, states)
        if bias_grad is not None:
            bias_grad += logits.sum(0)
    return total


def _add_product(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """total += a @ b, also if the product has another dtype."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b

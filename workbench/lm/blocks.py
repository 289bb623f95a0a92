"""Causal attention as matrix products over blocks of queries, with gradients.

For CPUs, which have fast matrix products and no fast kernel for this (tests/benchmarks/training_rate.py).
It is a PyTorch operator of its own, `workbench::block_attention`, so that selective recomputation stores its
output like that of PyTorch's attention.

Shapes, here and in `attention`: key and value [n, longest, d]; query and output [n, longest x shared, d] with
`shared` queries per key. `lengths` holds the tokens of each sample, longest first; n is a multiple of their
number. Query i of a sample sees keys 0 to i, or the last `window` of them (0: no window).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

_BLOCK = 128  # queries per product; 64 for samples of up to 256 tokens, where half a block is masked


class _Block(NamedTuple):
    """A block of queries of all samples that reach it, and the keys that they may see."""

    queries: tuple[slice, slice]
    keys: tuple[slice, slice]
    ahead: torch.Tensor  # -inf where a key of the block itself lies ahead of the query, else 0
    behind: torch.Tensor | None  # True where a key has left the window; None without such keys


def _blocks(query, key, lengths: list[int], window: int) -> Iterator[_Block]:
    length, shared = key.shape[1], query.shape[1] // key.shape[1]
    size = min(length, 64 if length <= 256 else _BLOCK)
    ahead = query.new_full((size, size), -torch.inf).triu(1).repeat_interleave(shared, 0)
    for start in range(0, length, size):
        stop = min(start + size, length)
        live = len(query) // len(lengths) * sum(n > start for n in lengths)
        first = max(0, start - window + 1) if window else 0
        behind = None
        if window and stop > window:
            behind = torch.arange(first, stop) <= torch.arange(start, stop)[:, None] - window
            behind = behind.repeat_interleave(shared, 0).to(query.device)
        yield _Block(
            (slice(live), slice(start * shared, stop * shared)),
            (slice(live), slice(first, stop)),
            ahead[: (stop - start) * shared, : stop - start],
            behind,
        )


def _probabilities(query, key, block: _Block, scale: float) -> torch.Tensor:
    """Attention probabilities [live, queries x shared, keys] of one block."""
    scores = torch.baddbmm(query.new_empty(()), query[block.queries], key[block.keys].mT, beta=0, alpha=scale)
    scores[..., -block.ahead.shape[1] :] += block.ahead
    if block.behind is not None:
        scores.masked_fill_(block.behind, -torch.inf)
    return scores.softmax(-1)


@torch.library.custom_op("workbench::block_attention", mutates_args=())
def block_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: list[int], scale: float, window: int
) -> torch.Tensor:
    """Output [n, longest x shared, d]. What stands behind the end of a sample is unspecified."""
    output = torch.zeros_like(query)
    for block in _blocks(query, key, lengths, window):
        torch.bmm(_probabilities(query, key, block, scale), value[block.keys], out=output[block.queries])
    return output


@block_attention.register_fake
def _(query, key, value, lengths, scale, window):
    return torch.empty_like(query)


@torch.library.custom_op("workbench::block_attention_backward", mutates_args=())
def _block_attention_backward(
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    output: torch.Tensor,
    lengths: list[int],
    scale: float,
    window: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of query, key and value. The probabilities are computed again, block by block."""
    exact = torch.promote_types(query.dtype, torch.float32)  # sums over blocks of queries are kept in it
    of_query = torch.zeros_like(query)
    of_key, of_value = (torch.zeros_like(states, dtype=exact) for states in (key, value))
    for block in _blocks(query, key, lengths, window):
        rows, seen = block.queries, block.keys
        probabilities = _probabilities(query, key, block, scale)
        # Transposed twice: a CPU multiplies a transposed first factor of bfloat16 fifty times slower.
        of_value[seen] += torch.bmm(gradient[rows].mT, probabilities).mT
        # The softmax: dS = P * (dP - sum(dP * P)), where the sum over keys is that of gradient x output.
        mean = (gradient[rows].to(exact) * output[rows].to(exact)).sum(-1, keepdim=True).to(query.dtype)
        of_scores = torch.bmm(gradient[rows], value[seen].mT).sub_(mean).mul_(probabilities).mul_(scale)
        torch.bmm(of_scores, key[seen], out=of_query[rows])
        of_key[seen] += torch.bmm(query[rows].mT, of_scores).mT
    return of_query, of_key.to(key.dtype), of_value.to(value.dtype)


@_block_attention_backward.register_fake
def _(gradient, query, key, value, output, lengths, scale, window):
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _save(ctx, inputs, output) -> None:
    query, key, value, *ctx.settings = inputs
    ctx.save_for_backward(query, key, value, output)


def _backward(ctx, gradient):
    gradients = _block_attention_backward(gradient.contiguous(), *ctx.saved_tensors, *ctx.settings)
    return *gradients, None, None, None


block_attention.register_autograd(_backward, setup_context=_save)

"""Causal attention as matrix products over blocks of queries, with gradients.

For CPUs, which have fast matrix products and no fast kernel for this (tests/benchmarks/training_rate.py).
It is a PyTorch operator of its own, `workbench::block_attention`, so that selective recomputation stores its
output like that of PyTorch's attention.

Shapes, here and in `attention`: key and value [n, longest, d]; query and output [n, longest x shared, d] with
`shared` queries per key. `lengths` holds the tokens of each sample, longest first; n is a multiple of their
number. Query i of a sample sees keys 0 to i, or the last `window` of them (0: no window).
"""

from collections.abc import Iterator

import torch

_BLOCK = 128  # queries per product; 64 for samples of up to 256 tokens, where half a block is masked


def _blocks(length: int, n: int, shared: int, lengths: list[int], window: int) -> Iterator[tuple]:
    """(index of the queries, index of the keys, first query, end, first key) of each block of queries.

    A block leaves out the samples that end before it.
    """
    size = min(length, 64 if length <= 256 else _BLOCK)
    for start in range(0, length, size):
        stop = min(start + size, length)
        live = n // len(lengths) * sum(length > start for length in lengths)
        first = max(0, start - window + 1) if window else 0
        yield (
            (slice(live), slice(start * shared, stop * shared)),
            (slice(live), slice(first, stop)),
            start,
            stop,
            first,
        )


def _probabilities(query, key, start: int, stop: int, first: int, scale: float, window: int) -> torch.Tensor:
    """Attention probabilities [live, queries x shared, keys] of one block."""
    shared = query.shape[1] // (stop - start)
    scores = torch.baddbmm(query.new_empty(()), query, key.mT, beta=0, alpha=scale)
    ahead = torch.full((stop - start, stop - start), -torch.inf, dtype=query.dtype, device=query.device).triu(
        1
    )
    scores[..., start - first :] += ahead.repeat_interleave(shared, 0)
    if window and stop > window:
        behind = torch.arange(first, stop) <= torch.arange(start, stop)[:, None] - window
        scores.masked_fill_(behind.repeat_interleave(shared, 0).to(scores.device), -torch.inf)
    return scores.softmax(-1)


@torch.library.custom_op("workbench::block_attention", mutates_args=())
def block_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: list[int], scale: float, window: int
) -> torch.Tensor:
    """Output [n, longest x shared, d]. What stands behind the end of a sample is unspecified."""
    output = torch.zeros_like(query)
    shared = query.shape[1] // key.shape[1]
    for rows, seen, *span in _blocks(key.shape[1], len(query), shared, lengths, window):
        torch.bmm(_probabilities(query[rows], key[seen], *span, scale, window), value[seen], out=output[rows])
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
    shared = query.shape[1] // key.shape[1]
    exact = torch.promote_types(query.dtype, torch.float32)  # sums over blocks of queries are kept in it
    of_query = torch.zeros_like(query)
    of_key, of_value = (torch.zeros_like(states, dtype=exact) for states in (key, value))
    for rows, seen, *span in _blocks(key.shape[1], len(query), shared, lengths, window):
        probabilities = _probabilities(query[rows], key[seen], *span, scale, window)
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

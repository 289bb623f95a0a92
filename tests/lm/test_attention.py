"""The attention kernels agree: grouped and blocked attention give what each sample gives alone."""

import pytest
import torch

from workbench.lm import attention
from workbench.lm.batching import make_layout

SIZE, SCALE = 16, 0.2


def states(heads: int, kv_heads: int, tokens: int) -> list[torch.Tensor]:
    """query, key and value as a model passes them: [1, heads, tokens, SIZE]."""
    generator = torch.Generator().manual_seed(heads * tokens)
    return [torch.randn(1, n, tokens, SIZE, generator=generator) for n in (heads, kv_heads, kv_heads)]


@pytest.mark.parametrize("window", [None, 5, 70, 128, 1000])
@pytest.mark.parametrize("lengths", [(1, 2, 3), (64,), (300, 10, 1, 290, 64, 65), (130, 129, 200)])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (9, 3), (8, 1)])
def test_grouped_samples_attend_as_single_samples(heads, kv_heads, lengths, window):
    width = sum(lengths) + 3  # three tokens of padding
    query, key, value = states(heads, kv_heads, width)
    layout = make_layout([lengths], width)
    each = attention._each(query, key, value, layout, SCALE, window, 0.0)
    flat = [part[0].transpose(0, 1) for part in (query, key, value)]
    together = attention._grouped(*flat, layout, SCALE, window)
    torch.testing.assert_close(together[: sum(lengths)], each[0, : sum(lengths)], atol=2e-6, rtol=0)


@pytest.mark.parametrize("window", [None, 7])
def test_shared_queries_give_the_same_with_pytorchs_attention(window):
    query, key, value = states(6, 2, 40)  # reshaped below to [samples x kv_heads = 2, ...]
    shared = query[0].unflatten(0, (2, 3)).transpose(1, 2).flatten(1, 2)
    blocked, plain = torch.empty_like(shared), torch.empty_like(shared)
    attention._blocked(shared, key[0], value[0], blocked, [40], SCALE, window)
    attention._shared_sdpa(shared, key[0], value[0], plain, SCALE, window)
    torch.testing.assert_close(blocked, plain, atol=2e-6, rtol=0)

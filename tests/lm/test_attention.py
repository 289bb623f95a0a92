"""The attention kernels agree: grouped and blocked attention give what each sample gives alone."""

import inspect
import sys
from types import ModuleType

import pytest
import torch

from workbench.lm import attention
from workbench.lm.batching import make_layout
from workbench.lm.blocks import block_attention

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


@pytest.mark.parametrize("window", [None, 70])
@pytest.mark.parametrize("lengths", [(1, 2, 3), (300, 10, 1, 290, 64, 65)])
def test_gradients_of_samples_together_are_those_of_each_by_itself(lengths, window):
    width = sum(lengths) + 3
    layout = make_layout([lengths], width)
    weights = torch.randn(sum(lengths), 9, SIZE, dtype=torch.double)
    gradients = []
    for attend in (_each, _grouped):
        leaves = [part.double().requires_grad_() for part in states(9, 3, width)]
        (attend(*leaves, layout, window)[: sum(lengths)] * weights).sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-12, rtol=0)


def _each(query, key, value, layout, window):
    return attention._each(query, key, value, layout, SCALE, window, 0.0)[0]


def _grouped(query, key, value, layout, window):
    flat = [part[0].transpose(0, 1) for part in (query, key, value)]
    return attention._grouped(*flat, layout, SCALE, window)


@pytest.mark.parametrize("window", [None, 7])
def test_shared_queries_give_the_same_with_pytorchs_attention(window):
    query, key, value = states(6, 2, 40)  # reshaped below to [samples x kv_heads = 2, ...]
    shared = query[0].unflatten(0, (2, 3)).transpose(1, 2).flatten(1, 2)
    blocked = block_attention(shared, key[0], value[0], [40], SCALE, window or 0)
    plain = attention._shared_sdpa(shared, key[0], value[0], SCALE, window)
    torch.testing.assert_close(blocked, plain, atol=2e-6, rtol=0)


def test_block_attention_is_a_sound_operator():
    query, key, value = (part.requires_grad_() for part in (torch.randn(2, 12, 8), *torch.randn(2, 2, 6, 8)))
    torch.library.opcheck(block_attention, (query, key, value, [6, 4], SCALE, 3))


# Parameters of `varlen_attn` behind the lengths, in each release of PyTorch that has it.
VARLEN = {
    "2.10": {"is_causal"},
    "2.11": {"scale", "window_size"},
    "2.12": {"scale", "window_size", "enable_gqa"},
}


def varlen_of(parameters: set[str]):
    """A stand-in for the CUDA kernel with just these parameters."""

    def kernel(
        query, key, value, ends, ends_k, longest, longest_k, *, is_causal=False, scale=None, **options
    ):
        assert is_causal or options["window_size"][1] == 0
        assert query.shape[1] == key.shape[1] or options.get("enable_gqa")
        behind = options.get("window_size", (-1, 0))[0]
        layout = {"lengths": [torch.diff(ends).tolist()]}
        q, k, v = (part.transpose(0, 1)[None] for part in (query, key, value))
        scale = SIZE**-0.5 if scale is None else scale
        return attention._each(q, k, v, layout, scale, behind + 1 if behind >= 0 else None, 0.0)[0]

    kinds = inspect.Parameter
    given = list(inspect.signature(kernel).parameters.values())[:7]
    kernel.__signature__ = inspect.Signature(
        [*given, *(kinds(name, kinds.KEYWORD_ONLY, default=None) for name in sorted(parameters))]
    )

    def strict(*args, **options):
        assert set(options) <= parameters
        return kernel(*args, **options)

    strict.__signature__ = kernel.__signature__
    return strict


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("release", VARLEN)
def test_varlen_attention_is_called_as_each_release_of_pytorch_takes_it(release, window, monkeypatch):
    module = ModuleType("torch.nn.attention.varlen")
    module.varlen_attn = varlen_of(VARLEN[release])
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", module)
    monkeypatch.setattr(attention, "_has_varlen", lambda query: True)
    lengths = (7, 12, 1)
    query, key, value = states(4, 2, 20)
    layout = make_layout([lengths], 20)
    expected = attention._each(query, key, value, layout, SCALE, window, 0.0)
    attended, _ = attention._attention(
        None, query, key, value, None, SCALE, layout=layout, sliding_window=window
    )
    torch.testing.assert_close(attended, expected, atol=2e-6, rtol=0)

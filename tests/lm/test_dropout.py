"""Dropout from random bits is PyTorch's dropout: the same distribution, seeded, with the right gradient."""

import pytest
import torch
from torch import nn

from workbench.lm.dropout import Dropout, Mask, keep, replace_dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_elements_are_dropped_or_scaled(p, dtype):
    x = torch.ones(401, 499, dtype=dtype, requires_grad=True)
    y = Dropout(p)(x)
    y.sum().backward()
    kept = y != 0
    dropped = 1 - kept.float().mean().item()
    assert dropped == pytest.approx(p, abs=5 * (p * (1 - p) / x.numel()) ** 0.5)  # five standard errors
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - p)), rtol=1e-2, atol=0)
    torch.testing.assert_close(x.grad, y)  # of ones: the mask, scaled


def test_neighbours_are_independent():
    """Four elements share one random integer."""
    kept = (Dropout(0.5)(torch.ones(100_000, 4)) != 0).float()
    assert torch.corrcoef(kept.T).sub(torch.eye(4)).abs().max() < 0.02


def test_a_seed_gives_the_same_mask_again():
    x, dropout = torch.ones(7, 5), Dropout(0.5)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def test_nothing_is_dropped_in_evaluation_or_with_zero():
    x = torch.randn(5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_replacing_changes_no_weight():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.1)))
    before = model.state_dict()
    replace_dropout(model)
    assert [type(module) for module in model.modules() if isinstance(module, nn.Dropout)] == [Dropout] * 2
    assert model[1].p == 0.3
    assert model.state_dict().keys() == before.keys()


def test_masks_are_independent_of_each_other_and_within():
    torch.manual_seed(0)
    shape = torch.Size([250, 202])
    kept = torch.stack([(Mask(shape, 0.5).bits(torch.bfloat16) != 0).float() for _ in range(40)])
    by_mask = torch.corrcoef(kept.flatten(1)).sub(torch.eye(len(kept)))
    assert by_mask.abs().max() < 5 / shape.numel() ** 0.5  # five standard errors
    signs = 2 * kept - 1
    for down in (0, 1, 3):
        for right in (1, 2, 3, 4, 8, 101):
            pairs = signs[:, down:, right:] * signs[:, : shape[0] - down, :-right]
            # The corners of rectangles: rows and columns share their random integers.
            corners = pairs[:, 1:] * pairs[:, :-1]
            for products in (pairs, corners):
                assert products.mean().abs() < 5 / products.numel() ** 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_kept_elements_are_unchanged(dtype):
    x = torch.randn(9, 7).to(dtype)
    bits = Mask(x.shape, 0.5).bits(x.dtype)
    assert set(bits.unique().tolist()) == {-1, 0}
    assert torch.equal(keep(x.T.contiguous().T, bits), torch.where(bits != 0, x, 0))

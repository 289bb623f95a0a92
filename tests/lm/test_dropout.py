"""Dropout from random bits is PyTorch's dropout: the same distribution, seeded, with the right gradient."""

import pytest
import torch
from torch import nn

from workbench.lm.dropout import Dropout, replace_dropout


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

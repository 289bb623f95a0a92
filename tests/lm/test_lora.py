"""A LoRA layer as one function is peft's layer: the same output and gradients, with the same dropout."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from workbench.lm import lora
from workbench.lm.dropout import Mask, replace_dropout
from workbench.lm.lora import LoraLinear, lora_linear


def adapted(fused: bool, dropout: float, bias: bool = True, **options) -> nn.Module:
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=12, lora_dropout=dropout, target_modules=["0"], **options)
    if fused:
        config._register_custom_module({nn.Linear: LoraLinear})
    model = get_peft_model(nn.Sequential(nn.Linear(24, 40, bias=bias)), config)
    layer = model.base_model.model[0]
    nn.init.normal_(layer.lora_B["default"].weight)
    replace_dropout(model)
    return layer


def run(layer: nn.Module, dtype: torch.dtype = torch.float32, bfloat16: bool = False) -> list[torch.Tensor]:
    """Return the output and the gradients of the input and the adapter."""
    torch.manual_seed(1)
    x = torch.randn(3, 7, 24, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        output = layer(x)
    output.float().square().sum().backward()
    return [output, x.grad, layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_it_is_the_layer_of_peft(dropout, bias):
    layer = adapted(True, dropout, bias)
    assert isinstance(layer, LoraLinear)
    for value, expected in zip(run(layer), run(adapted(False, dropout, bias)), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_it_rounds_no_more_than_peft(dtype):
    """bfloat16 weights with a float32 adapter, as trainings have them."""
    exact = run(adapted(False, 0.3))
    layers = [adapted(fused, 0.3) for fused in (True, False)]
    for layer in layers:
        layer.base_layer.to(dtype)
    values, of_peft = (run(layer, dtype, bfloat16=True) for layer in layers)
    for value, reference, right in zip(values, of_peft, exact, strict=True):
        assert value.dtype == reference.dtype
        assert (value - right).norm() < 1.2 * (reference - right).norm() + 1e-3 * right.norm()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_right(dropout):
    torch.manual_seed(0)
    x, weight, bias, down, up = (
        torch.randn(s, dtype=torch.float64) for s in ((2, 3, 6), (5, 6), 5, (2, 6), (5, 2))
    )
    mask = Mask(x.shape, dropout) if dropout else None

    def layer(x, down, up):
        return lora_linear(x, weight, bias, down, up, 1.5, mask)

    assert torch.autograd.gradcheck(layer, [part.requires_grad_() for part in (x, down, up)])


@pytest.mark.parametrize("case", ["evaluation", "disabled", "dora", "trained base"])
def test_other_cases_run_as_peft_runs_them(case, monkeypatch):
    monkeypatch.setattr(lora, "lora_linear", None)  # a call would raise
    layers = [adapted(fused, 0.3, use_dora=case == "dora") for fused in (True, False)]
    for layer in layers:
        layer.train(case != "evaluation")
        layer.enable_adapters(case != "disabled")
        layer.base_layer.weight.requires_grad_(case == "trained base")
    outputs = []
    for layer in layers:
        torch.manual_seed(1)
        outputs.append(layer(torch.ones(2, 24)))
    assert torch.equal(*outputs)

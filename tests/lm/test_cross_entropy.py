"""The chunked loss has the value and the gradients of the plain one."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.lm import cross_entropy


def case(n: int, d: int = 6, vocabulary: int = 40, bias: bool = True):
    """A head, hidden states and targets."""
    torch.manual_seed(n)
    head = torch.nn.Linear(d, vocabulary, bias=bias)
    return head, torch.randn(n, d, requires_grad=True), torch.randint(0, vocabulary, (n,))


def gradients(loss, *tensors) -> list[torch.Tensor]:
    (3 * loss).backward()  # a factor, as from accumulation and loss scaling
    grads = [tensor.grad.clone() for tensor in tensors]
    for tensor in tensors:
        tensor.grad = None
    return grads


def assert_same_as_plain(head, hidden, targets, autocast: bool = False, tolerance: float = 1e-5) -> None:
    """Compare sum and gradients with PyTorch's own, over full logits."""
    tensors = [hidden, *head.parameters()]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        plain = F.cross_entropy(head(hidden).float(), targets, reduction="sum")
        ours = cross_entropy.summed(head, hidden, targets)
    torch.testing.assert_close(ours, plain, atol=tolerance, rtol=tolerance)
    for actual, expected in zip(gradients(ours, *tensors), gradients(plain, *tensors), strict=True):
        torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def test_two_tokens_match_a_hand_worked_example():
    """Both tokens are equally likely at hidden state 0: the loss is ln 2, its gradient 1/2 and -1/2."""
    head = torch.nn.Linear(1, 2, bias=True)
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [3.0]]))
    hidden = torch.zeros(1, 1, requires_grad=True)
    loss = cross_entropy.summed(head, hidden, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)
    assert head.bias.grad.tolist() == [0.5, -0.5]
    assert hidden.grad.item() == pytest.approx(0.5 * 1 - 0.5 * 3)
    assert head.weight.grad.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("bias", [True, False])
@given(n=st.integers(1, 90), vocabulary=st.integers(2, 60))
def test_sum_and_gradients_are_the_plain_ones_for_any_chunk_size(n, vocabulary, bias):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_entropy, "_CHUNK_BYTES", 4 * vocabulary * 17)
        assert_same_as_plain(*case(n, vocabulary=vocabulary, bias=bias))


def test_logits_far_apart_stay_finite():
    head, hidden, targets = case(30)
    with torch.no_grad():
        head.weight *= 1e4
    loss = cross_entropy.summed(head, hidden, targets)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in gradients(loss, hidden, head.weight))
    plain = F.cross_entropy(head(hidden), targets, reduction="sum")
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)


def test_under_autocast_it_is_as_precise_as_the_plain_loss():
    head, hidden, targets = case(50, d=32)
    assert_same_as_plain(head, hidden, targets, autocast=True, tolerance=3e-2)


def test_a_frozen_head_gets_no_gradient():
    head, hidden, targets = case(20)
    head.requires_grad_(False)
    cross_entropy.summed(head, hidden, targets).backward()
    assert head.weight.grad is None
    assert hidden.grad.abs().sum() > 0


def test_a_head_with_an_adapter_trains_it():
    from peft.tuners.lora import Linear, LoraConfig

    head, hidden, targets = case(60)
    wrapped = Linear(head, "default", LoraConfig(), r=2, lora_alpha=4)
    torch.nn.init.normal_(wrapped.lora_B["default"].weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_entropy, "_CHUNK_BYTES", 4 * 40 * 17)
        loss = cross_entropy.summed(wrapped, hidden, targets)
    plain = F.cross_entropy(wrapped(hidden), targets, reduction="sum")
    torch.testing.assert_close(loss, plain)
    a, b = (getattr(wrapped, name)["default"].weight for name in ("lora_A", "lora_B"))
    for actual, expected in zip(gradients(loss, hidden, a, b), gradients(plain, hidden, a, b), strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operator returns."""

    elements = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        outputs = operator(*args, **kwargs or {})
        for tensor in outputs if isinstance(outputs, list | tuple) else [outputs]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return outputs


def test_full_logits_are_never_held(monkeypatch):
    monkeypatch.setattr(cross_entropy, "_CHUNK_BYTES", 4 * 1000 * 20)
    head, hidden, targets = case(500, vocabulary=1000)
    with Largest() as largest:
        cross_entropy.summed(head, hidden, targets).backward()
    assert largest.elements <= 20 * 1000

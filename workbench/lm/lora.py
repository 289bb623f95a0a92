"""A linear layer with a LoRA adapter as one autograd function, for CPUs."""

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import nn
from torch.autograd.function import once_differentiable

from .dropout import Dropout, Mask, keep


class LoraLinear(Linear):
    """peft's layer y = W x + s B A dropout(x), in fewer passes over memory.

    Beside its input it stores nothing that has the size of its input or output. What the function does not
    cover runs as peft runs it: several adapters, variants such as DoRA, other devices, several processes,
    evaluation, trained or quantized W.
    """

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        if args or kwargs or not self._is_plain(x):
            return super().forward(x, *args, **kwargs)
        (name,) = self.active_adapters
        dropout = self.lora_dropout[name]
        mask = Mask(x.shape, dropout.p) if isinstance(dropout, Dropout) else None
        base, adapter = self.base_layer, (self.lora_A[name].weight, self.lora_B[name].weight)
        return lora_linear(x, base.weight, base.bias, *adapter, self.scaling[name], mask)

    def _is_plain(self, x: torch.Tensor) -> bool:
        if not (self.training and torch.is_grad_enabled() and x.device.type == "cpu"):
            return False
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return False
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1 or self.lora_variant:
            return False
        (name,) = self.active_adapters
        if name not in self.lora_A or self.lora_bias[name]:
            return False
        base, dropout = self.base_layer, self.lora_dropout[name]
        weights = (base.weight, self.lora_A[name].weight)
        if type(base) is not nn.Linear or any(weight.requires_grad for weight in base.parameters()):
            return False
        one_dtype = torch.is_autocast_enabled("cpu") or {weight.dtype for weight in weights} == {x.dtype}
        drops = isinstance(dropout, Dropout) and 0 < dropout.p < 1 and not dropout.inplace
        return one_dtype and (drops or isinstance(dropout, nn.Identity))


def lora_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    down: torch.Tensor,
    up: torch.Tensor,
    scaling: float,
    mask: Mask | None,
) -> torch.Tensor:
    """x W^T + b + scaling * dropout(x) A^T B^T [..., d_out].

    With x [..., d_in], W = `weight` [d_out, d_in], b = `bias` [d_out], A = `down` [r, d_in],
    B = `up` [d_out, r] and `mask` of the shape of x. Products have the dtype of autocast, or of `x` without
    it. W and b get no gradient.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    weight, x = weight.to(dtype), x.to(dtype)
    return _LoraLinear.apply(x, weight, bias, down, up, scaling, mask)


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, down, up, scaling: float, mask: Mask | None):
        ctx.mask, ctx.factor = mask, scaling * (mask.scale if mask else 1)
        bits = mask.bits(x.dtype) if mask else None
        # Not in place: selective recomputation stores the results of products.
        hidden = (_rows(x, bits) @ down.to(x.dtype).T) * ctx.factor  # [tokens, r]
        ctx.save_for_backward(x, weight, down, up, hidden)
        output = F.linear(_rows(x), weight, None if bias is None else bias.to(x.dtype))
        return torch.addmm(output, hidden, up.to(x.dtype).T).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight, down, up, hidden = ctx.saved_tensors
        bits = ctx.mask.bits(x.dtype) if ctx.mask else None
        gradient = _rows(gradient)
        of_hidden = (gradient @ up.to(x.dtype)).mul_(ctx.factor)
        # Transposed, because a product is twice as fast with the wide factor second.
        of_up = (hidden.T @ gradient).T.to(up.dtype)
        of_down = (of_hidden.T @ _rows(x, bits)).to(down.dtype)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (of_hidden @ down.to(x.dtype)).view(x.shape)
            of_x = _rows(of_x, bits).addmm_(gradient, weight).view(x.shape)
        return of_x, None, None, of_down, of_up, None, None


def _rows(x: torch.Tensor, bits: torch.Tensor | None = None) -> torch.Tensor:
    """`x` as a matrix [tokens, d], without the elements that `bits` drop."""
    return (x if bits is None else keep(x, bits)).reshape(-1, x.shape[-1])

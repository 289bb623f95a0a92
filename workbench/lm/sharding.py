"""Sharded training on several GPUs (PyTorch's FSDP 2): its settings, its precision, and whole tensors.

Weights, gradients and optimizer state are split over the processes, layer by layer. A layer is whole only
while it computes.
"""

import torch
import torch.distributed as dist

# In accelerate's names; transformers takes the same, with or without the prefix.
FSDP_CONFIG = {
    "fsdp_version": 2,
    "fsdp_reshard_after_forward": True,  # full shard
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_state_dict_type": "FULL_STATE_DICT",
    "fsdp_cpu_ram_efficient_loading": False,  # each process tests its own copy for sample isolation
    "fsdp_offload_params": False,
}


def is_sharded(device: str) -> bool:
    """Whether this is one of several processes that train on `device` together and shard the model.

    On CPUs they do not: each has the whole model.
    """
    return device.startswith("cuda") and dist.is_initialized() and dist.get_world_size() > 1


def mixed_precision(dtype: str):
    """The precision of a sharded training in `dtype`: layers compute in it, gradients add up in float32.

    Returns a `MixedPrecisionPolicy`, or None for float32.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if dtype == "float32":
        return None
    return MixedPrecisionPolicy(param_dtype=getattr(torch, dtype), reduce_dtype=torch.float32)


def whole(state, keep: bool = True):
    """Return a nested `state` with each sharded tensor as a whole one in host memory; None unless `keep`.

    All processes must call this together. A tensor that stands in several places stays one tensor.
    """
    from torch.distributed.tensor import DTensor

    gathered: dict[int, torch.Tensor | None] = {}

    def gather(value):
        if isinstance(value, dict):
            return {name: gather(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [gather(inner) for inner in value]
        if not isinstance(value, DTensor):
            return value
        if id(value) not in gathered:
            tensor = value.detach().full_tensor()
            gathered[id(value)] = tensor.cpu() if keep else None
        return gathered[id(value)]

    state = gather(state)
    return state if keep else None


def shard_state(state: dict, optimizer: torch.optim.Optimizer) -> dict:
    """Return the `state` of an optimizer with whole tensors, split as the parameters of `optimizer` are."""
    from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def split(value, parameter):
        if not isinstance(parameter, DTensor) or not isinstance(value, torch.Tensor) or not value.dim():
            return value
        same = value.shape == parameter.shape
        placements = parameter.placements if same else [Replicate()] * parameter.device_mesh.ndim
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, placements)

    moments = {
        index: {name: split(value, parameters[index]) for name, value in values.items()}
        for index, values in state["state"].items()
    }
    return state | {"state": moments}

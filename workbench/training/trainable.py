"""The model to train: all of its weights, or low-rank adapters (LoRA) on frozen weights.

By default, the results of matrix products and attention are stored for the backward pass, and the cheap
operations between them (norms, rotations, activations) are recomputed. This halves the memory of activations
and costs a few percent of the time.
"""

import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers.utils import GENERATION_CONFIG_NAME

from ..core.errors import UserError
from ..lm import models, sharding
from ..lm.adapters import hide_warning_of_peft
from ..lm.devices import dtype_name, pick_device, with_index
from ..lm.dropout import replace_dropout
from ..lm.footprint import Footprint, n_weights, refusal
from .settings import TrainingSettings

# The layers that the paper's released code adapts. If a model lacks one of these names, e.g. because it has
# one matrix for queries, keys and values, all of its linear layers but the output layer get adapters.
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_STORED = ("mm", "attention", "attn")  # parts of the names of PyTorch operators


def check_hardware(settings: TrainingSettings) -> None:
    """Raise UserError if `settings` need a GPU or a package that this machine lacks."""
    device = pick_device(settings.device)
    for name, value, alternative in (
        ("method", settings.method, "lora"),
        ("optimizer", settings.optimizer, "adafactor"),
    ):
        if value != "qlora" and not value.endswith("8bit"):
            continue
        if not device.startswith("cuda"):
            raise UserError(
                f"{name}={value!r} needs an NVIDIA GPU and this run is on {device!r}; "
                f"use {name}={alternative!r}."
            )
        if find_spec("bitsandbytes") is None:
            raise UserError(
                f"{name}={value!r} needs the package bitsandbytes, which is not installed: "
                f"pip install bitsandbytes, or use {name}={alternative!r}."
            )


def check_memory(model: str | Path, settings: TrainingSettings, gpus: int = 1) -> None:
    """Raise UserError, with what would fit, if the training cannot fit the memory of its device."""
    device = with_index(pick_device(settings.device))
    dtype = dtype_name(settings.dtype, device, training=True)
    size = Footprint(n_weights(model), settings.method, settings.optimizer, dtype, gpus)
    if reason := refusal(str(model), size, device):
        raise UserError(reason)


def load_base(name: str, settings: TrainingSettings, device: str):
    """Return the model `name`, with its weights stored as `settings.method` needs them, and its tokenizer."""
    check_hardware(settings)
    dtype = dtype_name(settings.dtype, device, training=True)
    if settings.method == "qlora":
        return models.load_model(name, dtype, device, four_bit=True)
    # Full tuning keeps float32 weights and multiplies in `dtype`; frozen weights can be stored in `dtype`.
    return models.load_model(name, "float32" if settings.method == "full" else dtype, device)


def with_adapter(model, base: str, settings: TrainingSettings):
    """Return `model` frozen, with a new LoRA adapter. `base` is the name that it was loaded by."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if settings.method == "qlora":  # norms in float32; `recompute` enables gradient checkpointing
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        **_targets(model, settings.lora_dropout),
    )
    if settings.method == "lora" and model.device.type == "cpu":
        from ..lm.lora import LoraLinear

        config._register_custom_module({torch.nn.Linear: LoraLinear})
    hide_warning_of_peft()
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = models.public_name(base)
    replace_dropout(adapted)
    return adapted


def _targets(model, dropout: float) -> dict:
    """Arguments of `LoraConfig` that name the layers to adapt.

    The experts of a mixture may be one tensor per layer, and no linear layers. Peft adapts such tensors only
    without dropout; with it, a warning says that they stay as they are.
    """
    names = {_last(name) for name, _ in model.named_modules()}
    fused = [name for name, weight in model.named_parameters() if "experts." in name and weight.dim() == 3]
    if not fused:
        return {"target_modules": list(LORA_TARGETS) if names.issuperset(LORA_TARGETS) else "all-linear"}
    head = model.get_output_embeddings()
    linear = sorted(
        {_last(name) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head}
    )
    if dropout == 0:
        return {"target_modules": linear, "target_parameters": sorted({_last(name, 2) for name in fused})}
    warnings.warn(
        f"the experts of {type(model).__name__} get no adapters with lora_dropout={dropout}, because each "
        f"layer keeps them in one tensor; {', '.join(linear)} do. With lora_dropout=0 the experts do too.",
        stacklevel=2,
    )
    return {"target_modules": linear}


def _last(name: str, parts: int = 1) -> str:
    """The last `parts` parts of a dotted name."""
    return ".".join(name.split(".")[-parts:])


def _policy(context, operator, *args, **kwargs) -> CheckpointPolicy:
    name = operator.name()
    # Matrix products are expensive for the size of their result; other operators only read and write memory.
    is_stored = any(part in name for part in _STORED)
    return CheckpointPolicy.MUST_SAVE if is_stored else CheckpointPolicy.PREFER_RECOMPUTE


def recompute(model, everything: bool = False) -> None:
    """Make each layer of `model` recompute cheap operations in the backward pass, or `everything` but its
    input (gradient checkpointing).

    Gradients do not change. Does nothing if the model does not support gradient checkpointing.
    """
    if not getattr(model, "supports_gradient_checkpointing", True):
        return
    options = {"use_reentrant": False}
    if not everything:
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    # transformers renames this method in version 6.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable(options)


def save(model, folder, writes: bool = True) -> None:
    """Write the weights of `model`, or its adapter, and its generation config to `folder`.

    Every process of a distributed training calls this, and one of them `writes`.
    """
    from peft import PeftModel

    state = sharding.whole(model.state_dict(keep_vars=True), keep=writes)
    if not writes:
        return
    if not isinstance(model, PeftModel):
        model.save_pretrained(folder, state_dict=state)
        return
    # Adapters leave the embeddings unchanged; without this option peft asks the hub about them at each save.
    model.save_pretrained(folder, state_dict=state, save_embedding_layers=False)
    model.generation_config.to_json_file(Path(folder) / GENERATION_CONFIG_NAME)

"""The model that a run tunes: all of its weights, or low-rank adapters (LoRA) on frozen ones.

By default the results of matrix products and of attention are kept and all that lies between them (norms,
rotations, activations) is computed again: half of the memory for some percent of the time.
"""

import warnings
from functools import partial
from importlib.util import find_spec

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from ..core.errors import UserError
from ..lm import models
from .settings import TrainingSettings

# What the paper's release adapts; a model that names its layers otherwise gets adapters on all linear ones.
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_KEPT = ("mm", "attention", "attn")  # in the names of PyTorch's operators


def check_hardware(settings: TrainingSettings) -> None:
    """Raise if this machine cannot train with `settings`, which may be perfectly good elsewhere."""
    device = models.pick_device(settings.device)
    for name, value, instead in (
        ("method", settings.method, "lora"),
        ("optimizer", settings.optimizer, "adafactor"),
    ):
        if value != "qlora" and not value.endswith("8bit"):
            continue
        if not device.startswith("cuda"):
            raise UserError(
                f"{name}={value!r} needs an NVIDIA GPU and this run is on {device!r}; use {name}={instead!r}."
            )
        if find_spec("bitsandbytes") is None:
            raise UserError(
                f"{name}={value!r} needs the package bitsandbytes, which is not installed: "
                f"pip install bitsandbytes, or use {name}={instead!r}."
            )


def has_tf32(device: str) -> bool:
    """Whether `device` multiplies in TF32, as NVIDIA GPUs do from Ampere on."""
    return device.startswith("cuda") and torch.cuda.get_device_capability(device) >= (8, 0)


def load_base(name: str, settings: TrainingSettings, device: str):
    """Model and tokenizer of `name`, with weights stored as `settings.method` has them."""
    check_hardware(settings)
    if settings.method == "qlora":
        return models.load_model(name, settings.dtype, device, four_bit=True)
    # Full tuning keeps fp32 weights and multiplies in `dtype`; frozen weights can be stored in it.
    return models.load_model(name, "float32" if settings.method == "full" else settings.dtype, device)


def with_adapter(model, base: str, settings: TrainingSettings):
    """`model`, whose weights are those of `base`, frozen under a new adapter."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if settings.method == "qlora":  # norms in fp32; the training loop sees to gradient checkpointing
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    targets = [name for name in LORA_TARGETS if name in names]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets or "all-linear",
    )
    # peft reads a property that transformers is about to rename; nothing that a user could mend.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    adapted = get_peft_model(model, config)
    # It leaves the embeddings as they are; without the hint peft asks the hub about them at each checkpoint.
    adapted.save_pretrained = partial(adapted.save_pretrained, save_embedding_layers=False)
    adapted.peft_config["default"].base_model_name_or_path = models.public_name(base)
    return adapted


def _policy(context, operator, *args, **kwargs) -> CheckpointPolicy:
    name = operator.name()
    # A product of matrices costs more than its result is large; anything else is read and written once.
    kept = any(part in name for part in _KEPT)
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def recompute(model, everything: bool = False) -> None:
    """Let each layer of `model` compute again what is cheap to, or `everything` but its input.

    The gradients stay as they are. A model whose layers cannot be computed again keeps all.
    """
    if not getattr(model, "supports_gradient_checkpointing", True):
        return
    options = {"use_reentrant": False}
    if not everything:
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    # The name from transformers 6 on, and the one before.
    switch = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    switch(options)

"""The memory that training a model takes at least, known before anything is loaded."""

import os
from dataclasses import dataclass, replace

import psutil
import torch
from safetensors import safe_open

from . import models
from .adapters import base_of

# Bytes of optimizer state per trained weight. Adafactor keeps a row and a column per matrix; the paged
# optimizer can move its state to host memory.
_STATE = {"adamw": 8, "adafactor": 0, "adamw-8bit": 2, "paged-adamw-8bit": 0}
_WEIGHT = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes
_FOUR_BITS = 0.5
_MOST_GPUS = 64


@dataclass(frozen=True)
class Footprint:
    """Training `n_weights` weights with `method` and `optimizer`, in `dtype`, on `gpus` GPUs (or one CPU).

    Counts weights, gradients and optimizer state, and not activations, which depend on the batch.
    """

    n_weights: int
    method: str
    optimizer: str
    dtype: str
    gpus: int = 1

    @property
    def least_bytes(self) -> float:
        """The bytes that each device needs at least."""
        if self.method != "full":
            return self.n_weights * (_FOUR_BITS if self.method == "qlora" else _WEIGHT[self.dtype])
        # float32 weights and gradients. Each process loads whole weights before they are sharded.
        trained = self.n_weights * (4 + 4 + _STATE[self.optimizer])
        return max(trained / self.gpus, 4 * self.n_weights)


def n_weights(name: str | os.PathLike) -> int:
    """Return the number of weights in the safetensors files of the model `name`, or of an adapter's base."""
    folder = models.resolve(name)
    if base := base_of(folder):
        return n_weights(base)
    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (not a dict)
                total += int(torch.Size(tensors.get_slice(key).get_shape()).numel())
    return total


def memory_of(device: str) -> int:
    """Return the memory of `device` in bytes, used or not."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().total


def refusal(name: str, footprint: Footprint, device: str) -> str | None:
    """Return why the training cannot fit the memory of `device`, and what fits; None if it may fit."""
    memory = memory_of(device)
    if footprint.least_bytes <= memory:
        return None
    choices = [
        f"{text} ({_gib(other.least_bytes)})"
        for text, other in _others(footprint, device)
        if other.least_bytes <= memory
    ]
    cure = f"use {_or(choices)}" if choices else "use a smaller model"
    return (
        f"model={name!r} has {footprint.n_weights / 1e9:.2g} billion weights. method={footprint.method!r} "
        f"with optimizer={footprint.optimizer!r} needs at least {_gib(footprint.least_bytes)} for weights, "
        f"gradients and optimizer state, and device={device!r} has {_gib(memory)}; {cure}."
    )


def _others(footprint: Footprint, device: str) -> list[tuple[str, Footprint]]:
    """Trainings of the same model that need less, best first, with the settings that give them."""
    others = []
    if footprint.method == "full":
        others.append(("optimizer='adafactor'", replace(footprint, optimizer="adafactor")))
    if footprint.method != "qlora":
        others.append(("method='lora'", replace(footprint, method="lora")))
    if device.startswith("cuda"):
        others.append(("method='qlora'", replace(footprint, method="qlora")))
        if footprint.method == "full":
            memory, gpus = memory_of(device), footprint.gpus
            while gpus < _MOST_GPUS and replace(footprint, gpus=gpus).least_bytes > memory:
                gpus *= 2
            others.append((f"`workbench launch --gpus {gpus}`", replace(footprint, gpus=gpus)))
    return others


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:,.1f} GiB"


def _or(choices: list[str]) -> str:
    return " or ".join([", ".join(choices[:-1]), choices[-1]]) if choices[1:] else choices[0]

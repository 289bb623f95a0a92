"""Pretended GPUs: what PyTorch says about the hardware, without any. Nothing can be computed on them."""

from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace

import torch


@dataclass(frozen=True)
class Card:
    """`capability` as (major, minor), memory in GiB."""

    name: str
    capability: tuple[int, int]
    gib: int


T4 = Card("Tesla T4", (7, 5), 16)
A100 = Card("NVIDIA A100-SXM4-80GB", (8, 0), 80)


def pretend(monkeypatch, card: Card, count: int = 1) -> list[torch.device]:
    """Make PyTorch report `count` GPUs of this kind; returns the list of devices that are made current."""
    current: list[torch.device] = []
    properties = SimpleNamespace(
        name=card.name,
        major=card.capability[0],
        minor=card.capability[1],
        total_memory=card.gib * 2**30,
    )
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: count,
        "current_device": lambda: current[-1].index if current else 0,
        "set_device": lambda device: current.append(torch.device(device)),
        "device": lambda device: nullcontext(),
        "get_device_capability": lambda device=None: card.capability,
        "get_device_name": lambda device=None: card.name,
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": lambda *args, **kwargs: card.capability >= (8, 0),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    return current

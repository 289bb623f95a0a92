"""Peak memory is that of the device in use."""

import torch

from workbench.core.memory import PeakMemory


def test_the_memory_of_the_second_gpu_is_measured(monkeypatch):
    mib = {"cuda:0": 1000, "cuda:1": 3}
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device: mib[device] * 2**20)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: mib[device])
    with PeakMemory("cuda:1") as memory:
        pass
    assert (memory.start_mib, memory.peak_mib) == (3, 3)

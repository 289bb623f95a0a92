"""Peak memory of a stretch of work, and giving back what it used."""

import ctypes
import gc
import sys
import threading

import psutil
import torch


def release() -> None:
    """Give freed memory back to the GPU and to the system: a notebook lives on after a training."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        # glibc keeps what a thread has freed, gigabytes after a training, unless asked.
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)


class PeakMemory:
    """Within this context, the most memory in use: allocated on the GPU where it is one (as the paper
    measures it), else resident in this process, sampled 20 times a second. MiB."""

    def __init__(self, device: str):
        self.on_gpu = device.startswith("cuda")
        self.start_mib = self.peak_mib = 0.0
        self._process = psutil.Process()
        self._done = threading.Event()

    def now_mib(self) -> float:
        used = torch.cuda.memory_allocated() if self.on_gpu else self._process.memory_info().rss
        return used / 2**20

    def __enter__(self) -> "PeakMemory":
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self.start_mib = self.peak_mib = self.now_mib()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.update()

    def update(self) -> float:
        peak = torch.cuda.max_memory_allocated() / 2**20 if self.on_gpu else self.now_mib()
        self.peak_mib = max(self.peak_mib, peak)
        return self.peak_mib

    def __exit__(self, *exception) -> None:
        self._done.set()
        self._watcher.join()
        self.update()

"""Memory of a stretch of work: its peak, its end, keeping what was used and giving it back."""

import ctypes
import gc
import sys
import threading
from contextlib import contextmanager

import psutil
import torch


def release() -> None:
    """Give freed memory back to the GPU and to the system: a notebook lives on after a training."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    # glibc keeps what a thread has freed, gigabytes after a training, unless asked.
    _glibc("malloc_trim")(0)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names in mallopt
_KEEP, _GIVE_BACK = 2**30, 2**25  # bytes; the second is the most that glibc would come to by itself


def _glibc(function: str):
    """A function of glibc's allocator; where there is no glibc, one that does nothing."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return getattr(library, function, lambda *_: None)


@contextmanager
def kept():
    """Within this context the process keeps freed memory for its next tensors.

    By default each large tensor is mapped anew and each of its pages faults, which the forward pass of a
    small model on a CPU feels.
    """
    set_option = _glibc("mallopt")
    set_option(_MMAP_THRESHOLD, _KEEP)
    set_option(_TRIM_THRESHOLD, _KEEP)
    try:
        yield
    finally:
        set_option(_MMAP_THRESHOLD, _GIVE_BACK)
        set_option(_TRIM_THRESHOLD, _GIVE_BACK)
        _glibc("malloc_trim")(0)


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` says so. Only CUDA has an exception of its own for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


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

    def restart(self) -> None:
        """Forget the peak so far."""
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self.peak_mib = self.now_mib()

    def __enter__(self) -> "PeakMemory":
        self.restart()
        self.start_mib = self.peak_mib
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

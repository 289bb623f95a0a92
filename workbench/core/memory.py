"""Measure peak memory, reuse freed memory, and return it to the system."""

import ctypes
import gc
import sys
import threading
from contextlib import contextmanager

import psutil
import torch


def release() -> None:
    """Return freed memory to the GPU and to the system, e.g. while a notebook kernel stays alive."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    # Without this call glibc keeps freed memory, possibly gigabytes, for the process.
    _glibc("malloc_trim")(0)


@contextmanager
def released_from_gpu():
    """Context, or decorator, after which memory that is no longer used is returned to the GPU.

    PyTorch would keep it for this process. Does nothing if the process has not used a GPU.
    """
    try:
        yield
    finally:
        if torch.cuda.is_initialized():
            release()


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
# Thresholds in bytes. The second is the maximum of glibc's own dynamic threshold.
_KEEP, _GIVE_BACK = 2**30, 2**25


def _glibc(function: str):
    """Return a function of glibc's allocator, or a no-op on systems without glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return getattr(library, function, lambda *_: None)


@contextmanager
def reuse_freed_memory():
    """Context in which the process keeps freed memory for its next tensors (glibc only).

    By default glibc maps every large tensor anew, and the page faults slow down small models on a CPU.
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
    """Return whether `error` reports exhausted memory.

    PyTorch has an exception class of its own for this only on CUDA; elsewhere the text decides.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


class PeakMemory:
    """Context manager that measures peak memory, in MiB.

    On a CUDA device, `peak_mib` is `torch.cuda.max_memory_allocated`. On other devices it is the resident
    memory of this process, sampled 20 times per second, so shorter peaks are missed. `start_mib` is the
    memory in use on entry, and `own_mib` the peak above it.
    """

    def __init__(self, device: str):
        self.on_gpu = device.startswith("cuda")
        # Other threads, e.g. the one that samples, may have another current GPU.
        self.device = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device
        self.start_mib = self.peak_mib = 0.0
        self._process = psutil.Process()
        self._done = threading.Event()

    def now_mib(self) -> float:
        """Return the memory in use, in MiB."""
        used = torch.cuda.memory_allocated(self.device) if self.on_gpu else self._process.memory_info().rss
        return used / 2**20

    @property
    def own_mib(self) -> float:
        """The peak above the memory in use on entry, in MiB."""
        return self.peak_mib - self.start_mib

    def restart(self) -> None:
        """Reset the peak to the memory in use now."""
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
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
        """Take a sample and return the peak, in MiB."""
        peak = torch.cuda.max_memory_allocated(self.device) / 2**20 if self.on_gpu else self.now_mib()
        self.peak_mib = max(self.peak_mib, peak)
        return self.peak_mib

    def __exit__(self, *exception) -> None:
        self._done.set()
        self._watcher.join()
        self.update()

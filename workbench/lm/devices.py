"""Devices and dtypes: which of them a model is loaded, scored and trained in."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch

from ..core.errors import UserError, one_of

DTYPES = ("auto", "float32", "bfloat16", "float16")


def check_device(device: str) -> None:
    """Raise UserError unless `device` is "auto" or names a PyTorch device, whether or not it is present."""
    if device == "auto":
        return
    try:
        torch.device(device)
    except (RuntimeError, TypeError):
        raise UserError(
            f"device={device!r} is not known; give 'auto', 'cpu', 'mps', 'cuda', or one GPU of several by "
            "its number, as in 'cuda:1'."
        ) from None


def pick_device(device: str = "auto") -> str:
    """Resolve "auto" to CUDA if there is a GPU, else to Apple's MPS, else to the CPU.

    Raises UserError if `device` is unknown or not present on this machine.
    """
    check_device(device)
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if device != "cpu" and (torch.device(device).index or 0) >= _count(torch.device(device).type):
        raise UserError(
            f"device={device!r} is not present: PyTorch {torch.__version__} sees {_present()} here; use one "
            "of these, or 'auto'."
        )
    return device


def with_index(device: str) -> str:
    """Return `device`, with the number of this thread's current GPU if it is "cuda" without one."""
    return f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device


def _count(kind: str) -> int:
    """Return the number of devices of this kind that PyTorch can use."""
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    try:
        module = torch.get_device_module(kind)
    except RuntimeError:  # e.g. "meta", which computes nothing
        return 0
    return module.device_count() if module.is_available() else 0


def _present() -> str:
    gpus = [f"cuda:{index}" for index in range(_count("cuda"))]
    return ", ".join(["cpu", *(["mps"] if _count("mps") else []), *gpus])


def dtype_name(dtype: str = "auto", device: str = "auto", *, training: bool = False) -> str:
    """Resolve "auto" to bfloat16 if the device multiplies it natively, else to float32.

    GPUs that lack bfloat16 are trained on in float16, which they multiply several times faster than float32;
    the trainer scales the loss. Raises UserError unless `dtype` is one of `DTYPES` and
    `device` is present.
    """
    one_of("dtype", dtype, DTYPES)
    device = pick_device(device)
    if dtype != "auto":
        return dtype
    if device.startswith("cuda"):
        slow = "float16" if training else "float32"
        return "bfloat16" if _gpu_multiplies_bf16(device) else slow
    return "bfloat16" if device == "cpu" and _cpu_multiplies_bf16() else "float32"


def _gpu_multiplies_bf16(device: str) -> bool:
    """Whether this GPU multiplies bfloat16 in hardware, as AMD's do, and NVIDIA's from Ampere (8.0) on."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def _cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16 products. Emulation without them is slow."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def autocast(dtype: str, device: str) -> AbstractContextManager:
    """The context in which a training in `dtype` ("float32", "bfloat16" or "float16") computes its loss."""
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=getattr(torch, dtype))


def precision(dtype: str, device: str) -> str:
    """Return the format in which PyTorch multiplies matrices of `dtype` on `device` now: "float32",
    "bfloat16", "float16", or "tf32" or "bf16" if the process lets float32 be multiplied in one of these."""
    if dtype != "float32":
        return dtype
    kind, backends = torch.device(device).type, torch.backends
    if kind not in ("cuda", "cpu"):
        return dtype
    if kind == "cuda" and not has_tf32(device):
        return dtype
    matmul = backends.cuda.matmul if kind == "cuda" else backends.mkldnn.matmul
    if hasattr(matmul, "fp32_precision"):  # PyTorch 2.9
        return matmul.fp32_precision if matmul.fp32_precision in ("tf32", "bf16") else dtype
    if kind == "cuda":
        return "tf32" if matmul.allow_tf32 else dtype
    return {"medium": "bf16"}.get(torch.get_float32_matmul_precision(), dtype)


def has_tf32(device: str) -> bool:
    """Whether `device` supports TF32, as NVIDIA GPUs do from Ampere on."""
    return device.startswith("cuda") and torch.cuda.get_device_capability(device) >= (8, 0)


_tf32_lock = threading.Lock()
_tf32_users = 0  # contexts of `tf32` that are open, in any thread
_tf32_before: str | bool | None = None  # the setting before the first of them


@contextmanager
def tf32(enabled: bool) -> Iterator[None]:
    """Context in which NVIDIA GPUs multiply float32 in TF32, if `enabled`.

    The setting is one for the whole process. It is put back when the last of several open contexts ends,
    also after an error.
    """
    global _tf32_users, _tf32_before
    if not enabled:
        yield
        return
    matmul = torch.backends.cuda.matmul
    name, value = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    with _tf32_lock:
        if not _tf32_users:
            _tf32_before = getattr(matmul, name)
        _tf32_users += 1
        if getattr(matmul, name) != value:
            setattr(matmul, name, value)
    try:
        yield
    finally:
        with _tf32_lock:
            _tf32_users -= 1
            if not _tf32_users and getattr(matmul, name) != _tf32_before:
                setattr(matmul, name, _tf32_before)

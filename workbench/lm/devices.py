"""Devices and dtypes: which of them a model is loaded, scored and trained in."""

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

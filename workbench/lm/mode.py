"""How many samples a model can run at once without changing the loss of any: a self-test on two samples."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import torch

from ..core.memory import is_out_of_memory
from .devices import precision
from .nll import family_nll, packed_nll, padded_nll
from .prompts import Sample


@dataclass(frozen=True)
class BatchMode:
    """`name` is the fastest exact way to run samples; `reason` says why it is not "packed"."""

    name: Literal["packed", "padded", "single"]
    reason: str | None = None


# Results of the self-test by model, and by whether it covered training and in which dtype it computed.
_MODES: WeakKeyDictionary[torch.nn.Module, dict[tuple[bool, str], BatchMode]] = WeakKeyDictionary()
_SHARES: WeakKeyDictionary[torch.nn.Module, dict[str, bool]] = WeakKeyDictionary()

Run = Callable[[torch.nn.Module, Sequence[Sample]], list[torch.Tensor]]


def batch_mode(model: torch.nn.Module, training: bool = False) -> BatchMode:
    """Whether a loaded model runs samples "packed" (many in a row), "padded" (one per row) or only "single".

    The first call runs two small samples together and each alone and compares; later calls for the same model
    return the cached result. With `training`, packed samples must agree with gradients enabled too, where
    attention uses another kernel. The test computes in the autocast of the caller.
    """
    modes = _MODES.setdefault(model, {})
    key = training, _format(model)
    if key not in modes:
        modes[key] = _self_test(model, training)
    return modes[key]


def shares_prefixes(model: torch.nn.Module) -> bool:
    """Whether samples of a loaded model can share the tokens that they begin with. The result is cached."""
    by_format = _SHARES.setdefault(model, {})
    key = _format(model)
    if key not in by_format:
        packed = batch_mode(model).name == "packed"
        by_format[key] = packed and not _defect(model, lambda lm, samples: family_nll(lm, [samples])[0])
    return by_format[key]


def _format(model) -> str:
    """The number format of the model's matrix products, e.g. "float32" or "tf32"."""
    kind = model.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.dtype
    return precision(str(dtype).removeprefix("torch."), str(model.device))


def _self_test(model, training: bool) -> BatchMode:
    reason = _defect(model, packed_nll)
    if training and not reason:
        reason = _defect(model, packed_nll, gradients=True)
    if not reason:
        return BatchMode("packed")
    return BatchMode("single" if _defect(model, padded_nll) else "padded", reason)


def _defect(model, run: Run, gradients: bool = False) -> str | None:
    """Why `run` cannot be used for `model`; None if it is exact."""
    try:
        nats = deviation(model, run, gradients)
    except (NotImplementedError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        return f"a packed forward pass raises {type(error).__name__}: {error}"
    if nats <= (1e-3 if _format(model) == "float32" else 0.2):
        return None
    if not math.isfinite(nats):
        return f"the loss of packed samples differs from that of single ones by {nats} nats per token"
    return f"packed samples see each other, which shifts the loss by {nats:.2g} nats per token"


def deviation(model, run: Run, gradients: bool = False) -> float:
    """Mean absolute difference in nll (nats per token) between two samples in one `run` and each alone.

    Samples that see each other, or wrong positions, show as about half a nat; rounding of 16-bit weights as a
    few hundredths.
    """
    # The second sample is long enough for attention in blocks; both begin alike.
    ids = [token % model.config.vocab_size for token in range(7, 1077, 10)]
    samples = [Sample(tuple(ids[:17]), 1), Sample((*ids[:5], *ids[17:]), 1)]
    with torch.no_grad():
        alone = torch.cat([nll for sample in samples for nll in padded_nll(model, [sample])])
    with torch.set_grad_enabled(gradients):
        together = torch.cat(run(model, samples)).detach()
    return (together - alone).abs().mean().item()

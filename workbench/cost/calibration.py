"""Measuring what a fine-tuning takes on this machine, once: the result is stored."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import transformers

from ..core import progress
from ..core.errors import UserError
from ..core.store import Store, digest
from ..lm import models
from ..training import TrainingSettings
from ..training.settings import settings_of
from ..training.trainable import check_hardware
from .prediction import Calibration, fit

_VERSION = 1  # of what is measured
# What a pass or a step depends on; other settings change only how many there are, or how large.
_MATTERS = ("method", "optimizer", "gradient_checkpointing", "tf32")
_MATTERS_WITH_ADAPTER = ("lora_r", "lora_dropout")


def calibrate(
    model: str | Path = "smollm2-135m", *, seconds: float = 20.0, cache: bool = True, **settings
) -> Calibration:
    """Train `model` for about `seconds` on samples of several sizes, in a process of its own, and fit to that
    what any plan will take.

    `settings` are those of `finetune`; one calibration holds for every plan, batch size, number of epochs and
    accumulation. What was measured before with this model, method and machine is taken from the store, unless
    `cache` is false.
    """
    chosen = _checked(settings)
    if not seconds > 0:
        raise UserError(f"seconds={seconds!r} must be above 0; 20 is a good measure.")
    store, key = Store("cost"), _key(model, chosen)
    known = store.get([key]).get(key) if cache else None
    if known is None:
        progress.say(f"Measuring some training steps of {model}, about {seconds:.0f} s once it is loaded ...")
        known = json.dumps(_in_fresh_process(model, chosen, seconds)).encode()
        store.put({key: known})
    return fit(**json.loads(known))


def stored(model: str | Path = "smollm2-135m", **settings) -> Calibration | None:
    """What `calibrate` would take from the store; nothing is measured or fetched."""
    chosen, folder = _checked(settings), models.on_disk(model)
    if folder is None:
        return None
    key = _key(folder, chosen)
    known = Store("cost").get([key]).get(key)
    return None if known is None else fit(**json.loads(known))


def _checked(settings: Mapping) -> TrainingSettings:
    chosen = settings_of(dict(settings))
    if chosen.leaky:
        raise UserError("leaky=True is for comparisons and has no predicted cost; leave it out.")
    check_hardware(chosen)
    return chosen


def _key(model: str | Path, settings: TrainingSettings) -> str:
    names = _MATTERS if settings.method == "full" else _MATTERS + _MATTERS_WITH_ADAPTER
    matters = {name: getattr(settings, name) for name in names}
    device = models.pick_device(settings.device)
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    machine = [platform.node(), platform.machine(), os.cpu_count(), torch.get_num_threads(), device, gpu]
    versions = [_VERSION, torch.__version__, transformers.__version__]
    dtype = models.dtype_name(settings.dtype, device)
    return digest(models.fingerprint(model), matters, dtype, machine, versions)


def _in_fresh_process(model: str | Path, settings: TrainingSettings, seconds: float) -> dict:
    """What `measure` finds."""
    command = [sys.executable, "-m", "workbench.cost", str(model), json.dumps(asdict(settings)), str(seconds)]
    path = os.pathsep.join(filter(None, sys.path))  # a notebook may have added places to import from
    environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=os.environ | environment
    )
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-5:])
        raise UserError(
            f"model={str(model)!r} could not be calibrated: its process ended with {done.returncode}, as it "
            f"does when memory runs out; try method='lora' or a smaller model. {last}"
        )
    found = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        raise UserError(found["error"])
    return found

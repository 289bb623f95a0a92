"""Measure what training costs on this machine; each measurement is cached."""

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
from ..core.cpus import cpu_count
from ..core.errors import UserError
from ..core.store import Store, digest
from ..lm import models
from ..training import TrainingSettings
from ..training.settings import settings_of
from ..training.trainable import check_hardware
from .prediction import Calibration, fit

_VERSION = 2  # of the measurement
# The settings that change the cost of a pass or a step; others change only how many there are, or how large.
_RELEVANT = ("method", "optimizer", "gradient_checkpointing", "tf32")
_RELEVANT_WITH_ADAPTER = ("lora_r", "lora_dropout")


def calibrate(
    model: str | Path = "smollm2-135m", *, seconds: float = 20.0, cache: bool = True, **settings
) -> Calibration:
    """Train `model` for about 20 seconds and return a `Calibration`, which predicts time and memory of any
    plan.

    The measurement trains on synthetic samples of several sizes, in a process of its own. `seconds` limits
    its time without loading the model; the default of 20 is enough for the largest steps on most machines.

    `settings` are those of `finetune`. One calibration holds for every plan, batch size, number of epochs and
    accumulation. It depends on the model, the machine, `method`, `optimizer`, `gradient_checkpointing`,
    `tf32`, `dtype`, `device` and, with adapters, `lora_r` and `lora_dropout`, and is cached by these;
    `cache=False` measures again.

    Raises UserError if a setting is unknown or unsupported on this machine, if `leaky` is true, if another
    run uses the device, or if the measurement fails, e.g. because memory runs out.
    """
    checked = _checked(settings)
    if not seconds > 0:
        raise UserError(f"seconds={seconds!r} must be above 0; 20 is a good choice.")
    store, key = Store("cost"), _key(model, checked)
    stored_json = store.get([key]).get(key) if cache else None
    if stored_json is None:
        progress.say(f"Measuring some training steps of {model}, about {seconds:.0f} s once it is loaded ...")
        stored_json = json.dumps(_in_fresh_process(model, checked, seconds)).encode()
        store.put({key: stored_json})
    return fit(**json.loads(stored_json))


def stored(model: str | Path = "smollm2-135m", **settings) -> Calibration | None:
    """Return the cached calibration for these arguments of `calibrate`, or None.

    Nothing is measured or downloaded. Raises UserError like `calibrate` if a setting is invalid.
    """
    checked, folder = _checked(settings), models.on_disk(model)
    if folder is None:
        return None
    key = _key(folder, checked)
    stored_json = Store("cost").get([key]).get(key)
    return None if stored_json is None else fit(**json.loads(stored_json))


def _checked(settings: Mapping) -> TrainingSettings:
    checked = settings_of(dict(settings))
    if checked.leaky:
        raise UserError("leaky=True is for comparisons and its cost cannot be predicted; leave it out.")
    check_hardware(checked)
    return checked


def _key(model: str | Path, settings: TrainingSettings) -> str:
    names = _RELEVANT if settings.method == "full" else _RELEVANT + _RELEVANT_WITH_ADAPTER
    relevant = {name: getattr(settings, name) for name in names}
    device = models.pick_device(settings.device)
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    machine = [platform.node(), platform.machine(), cpu_count(), torch.get_num_threads(), device, gpu]
    versions = [_VERSION, torch.__version__, transformers.__version__]
    dtype = models.dtype_name(settings.dtype, device, training=True)
    return digest(models.fingerprint(model), relevant, dtype, machine, versions)


def _in_fresh_process(model: str | Path, settings: TrainingSettings, seconds: float) -> dict:
    """Return what `measure` returns, called in a new process."""
    command = [sys.executable, "-m", "workbench.cost", str(model), json.dumps(asdict(settings)), str(seconds)]
    path = os.pathsep.join(filter(None, sys.path))  # a notebook may have extended sys.path
    environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=os.environ | environment
    )
    if process.returncode:
        last_lines = "\n".join(process.stderr.splitlines()[-5:])
        raise UserError(
            f"model={str(model)!r} could not be calibrated: the process ended with exit code "
            f"{process.returncode}, as it does when memory runs out; try method='lora' or a smaller model. "
            f"{last_lines}"
        )
    measurement = json.loads(process.stdout.splitlines()[-1])
    if "error" in measurement:
        raise UserError(measurement["error"])
    return measurement

"""A few real training steps on made-up samples, timed: what a calibration is fitted to.

Run in a fresh process: resident memory hardly falls, so that an older process would measure its past.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback

from ..core.errors import UserError
from ..core.memory import PeakMemory, is_out_of_memory
from ..lm import models
from ..lm.prompts import Sample
from ..training import TrainingSettings, processes
from ..training.loop import set_up

# Tokens in the first pass of each step. The first step makes the optimizer's state and does not count; those
# after it find what any pass costs, three times because so short a time is easily disturbed.
_SMALL, _LARGE = (32, 32, 32, 32), (512, 2048, 8192)
_ROUNDS = 3  # over the two largest steps, where the machine is fast enough to come that far
_SHORT = 32  # tokens of a short sample
_PREDICTED = 0.6  # of the tokens, as in short code instructions
_PATIENCE = 5.0  # seconds to wait for a run that uses the device


class Ladder(Dataset):
    """Steps of two passes each, growing: one of short samples, and one of twice as many tokens in samples as
    long as `context` allows, which finds the gradients of the first in memory."""

    def __init__(self, context: int):
        self.sizes = [*_SMALL, *_LARGE, *_LARGE[-2:] * (_ROUNDS - 1)]
        self.context = context
        self._ids = np.random.default_rng(0).integers(256, size=context).tolist()  # any vocabulary has these

    def __len__(self) -> int:
        return 2 * len(self.sizes)

    def lengths(self, t: int) -> list[int]:
        """Tokens of each sample of pass `t`."""
        size = self.sizes[t // 2] * (1 + t % 2)
        length = min(self.context, size if t % 2 else _SHORT)
        return [length] * (size // length)

    def __getitem__(self, t: int) -> list[list[Sample]]:
        rows = [tuple(self._ids[:length]) for length in self.lengths(t)]
        return [[Sample(ids, round(len(ids) * (1 - _PREDICTED)))] for ids in rows]

    def work(self, t: int) -> dict[str, int]:
        """What time and memory of pass `t` depend on."""
        lengths = self.lengths(t)
        return {
            "tokens": sum(lengths),
            "squares": sum(length**2 for length in lengths),
            "ends_step": t % 2,
        }


class Stopwatch(TrainerCallback):
    """`passes` of a `Ladder` with seconds and peak memory each, until the next step would end after
    `seconds`. The second pass of a step ends with the optimizer's work."""

    def __init__(self, ladder: Ladder, memory: PeakMemory, seconds: float, synchronize: Callable[[], None]):
        self.ladder, self.memory, self.seconds, self.synchronize = ladder, memory, seconds, synchronize
        self.passes: list[dict] = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.began = time.perf_counter()

    def on_step_begin(self, args, state, control, **kwargs):
        self._start()

    def on_substep_end(self, args, state, control, **kwargs):
        self._take(2 * state.global_step)
        self._start()

    def on_step_end(self, args, state, control, **kwargs):
        last = state.global_step - 1
        self._take(2 * last + 1)
        if len(_SMALL) <= last < len(self.ladder.sizes) - 1:
            growth = self.ladder.sizes[last + 1] / self.ladder.sizes[last]
            expected = growth * sum(one["seconds"] for one in self.passes[-2:])
            control.should_training_stop = time.perf_counter() + expected > self.began + self.seconds

    def _start(self) -> None:
        self.memory.restart()
        self.started = time.perf_counter()

    def _take(self, t: int) -> None:
        self.synchronize()
        found = {
            "seconds": time.perf_counter() - self.started,
            "peak_bytes": round(self.memory.update() * 2**20),
        }
        self.passes.append(self.ladder.work(t) | found)


def measure(name: str, settings: TrainingSettings, seconds: float) -> dict:
    """{"passes": [{tokens, squares, ends_step, seconds, peak_bytes}, ...], "gradient_bytes"} of
    training `name`, without the step for warming up."""
    device = models.pick_device(settings.device)
    until = time.monotonic() + _PATIENCE
    with processes.turn(device, lambda: time.monotonic() > until, lambda text: None) as ours:
        if not ours:
            raise UserError(f"another run uses device={device!r}; calibrate when it has ended.")
        return _measured(name, settings, seconds, device)


def _measured(name: str, settings: TrainingSettings, seconds: float, device: str) -> dict:
    ladder = Ladder(models.context_length(name))
    settings = replace(settings, strategy="pad", accumulation=2, save_minutes=None, save_steps=None)
    synchronize = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    with (
        tempfile.TemporaryDirectory() as folder,
        set_up(name, ladder, settings, Path(folder)) as ready,
    ):
        watch = Stopwatch(ladder, ready.memory, seconds, synchronize)
        ready.trainer.add_callback(watch)
        try:
            ready.trainer.train()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(watch.passes) < 2 * len(_SMALL) + 2:
                raise
        trained = [weights for weights in ready.trainer.model.parameters() if weights.requires_grad]
        gradient_bytes = sum(weights.numel() * weights.element_size() for weights in trained)
    return {"passes": watch.passes[2:], "gradient_bytes": gradient_bytes}

"""Time a few real training steps on synthetic samples: the data that a calibration is fitted to.

This runs in a fresh process, because resident memory hardly ever shrinks: an older process would measure its
own past.
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

# Tokens in the first pass of each step. The first step creates the optimizer's state and is not used. The
# other small steps measure the fixed cost of a pass, three times because so short a time is noisy.
_SMALL, _LARGE = (32, 32, 32, 32), (512, 2048, 8192)
_ROUNDS = 3  # over the two largest steps, if the machine is fast enough
_SHORT = 32  # tokens of a short sample
_PREDICTED = 0.6  # share of predicted tokens, as in short code instructions
_PATIENCE = 5.0  # seconds to wait for a run that uses the device


class Ladder(Dataset):
    """Training steps of growing size, each of two passes.

    The first pass of a step has short samples. The second has twice as many tokens, in samples as long as
    `context` allows, and runs while the gradients of the first are in memory.
    """

    def __init__(self, context: int):
        self.sizes = [*_SMALL, *_LARGE, *_LARGE[-2:] * (_ROUNDS - 1)]
        self.context = context
        # Every vocabulary has the first 256 ids.
        self._ids = np.random.default_rng(0).integers(256, size=context).tolist()

    def __len__(self) -> int:
        return 2 * len(self.sizes)

    def lengths(self, t: int) -> list[int]:
        """Return the tokens of each sample of pass `t`."""
        size = self.sizes[t // 2] * (1 + t % 2)
        length = min(self.context, size if t % 2 else _SHORT)
        return [length] * (size // length)

    def __getitem__(self, t: int) -> list[list[Sample]]:
        rows = [tuple(self._ids[:length]) for length in self.lengths(t)]
        return [[Sample(ids, round(len(ids) * (1 - _PREDICTED)))] for ids in rows]

    def work(self, t: int) -> dict[str, int]:
        """Return the quantities that time and memory of pass `t` depend on."""
        lengths = self.lengths(t)
        return {
            "tokens": sum(lengths),
            "squares": sum(length**2 for length in lengths),
            "ends_step": t % 2,
        }


class Stopwatch(TrainerCallback):
    """Record seconds and peak memory of each pass of a `Ladder` in `passes`.

    The second pass of a step includes the optimizer's work. Training stops when the next step would end after
    `seconds`.
    """

    def __init__(self, ladder: Ladder, memory: PeakMemory, seconds: float, synchronize: Callable[[], None]):
        self.ladder, self.memory, self.seconds, self.synchronize = ladder, memory, seconds, synchronize
        self.passes: list[dict] = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.train_started = time.perf_counter()

    def on_step_begin(self, args, state, control, **kwargs):
        self._start_pass()

    def on_substep_end(self, args, state, control, **kwargs):
        self._end_pass(2 * state.global_step)
        self._start_pass()

    def on_step_end(self, args, state, control, **kwargs):
        last = state.global_step - 1
        self._end_pass(2 * last + 1)
        if len(_SMALL) <= last < len(self.ladder.sizes) - 1:
            growth = self.ladder.sizes[last + 1] / self.ladder.sizes[last]
            expected = growth * sum(measured["seconds"] for measured in self.passes[-2:])
            deadline = self.train_started + self.seconds
            control.should_training_stop = time.perf_counter() + expected > deadline

    def _start_pass(self) -> None:
        self.memory.restart()
        self.pass_started = time.perf_counter()

    def _end_pass(self, t: int) -> None:
        self.synchronize()
        seconds = time.perf_counter() - self.pass_started
        peak_bytes = round((self.memory.update() - self.memory.start_mib) * 2**20)
        self.passes.append(self.ladder.work(t) | {"seconds": seconds, "peak_bytes": peak_bytes})


def measure(name: str, settings: TrainingSettings, seconds: float) -> dict:
    """Train the model `name` for about `seconds` and return what each pass took.

        passes           list of {tokens, squares, ends_step, seconds, peak_bytes}, without the first step
        gradient_bytes   size of all gradients

    Raises UserError if another run uses the device.
    """
    device = models.pick_device(settings.device)
    deadline = time.monotonic() + _PATIENCE
    with processes.turn(device, lambda: time.monotonic() > deadline, lambda text: None) as has_turn:
        if not has_turn:
            raise UserError(f"another run uses device={device!r}; calibrate after it has ended.")
        return _measured(name, settings, seconds, device)


def _measured(name: str, settings: TrainingSettings, seconds: float, device: str) -> dict:
    ladder = Ladder(models.context_length(name))
    settings = replace(
        settings, strategy="pad", accumulation=2, max_steps=None, save_minutes=None, save_steps=None
    )
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
            # Out of memory in a large step: the passes before it are enough for a fit.
            if not is_out_of_memory(error) or len(watch.passes) < 2 * len(_SMALL) + 2:
                raise
        trained = [weights for weights in ready.trainer.model.parameters() if weights.requires_grad]
        gradient_bytes = sum(weights.numel() * weights.element_size() for weights in trained)
    return {"passes": watch.passes[2:], "gradient_bytes": gradient_bytes}

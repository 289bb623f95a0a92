"""Short trainings for tests, and ways to hold, break and compare them."""

import threading
import time

import pytest
import torch
from conftest import table
from safetensors.torch import load_file

from workbench.training import Run, loop
from workbench.training.folder import RunFolder

WORDS = ["add", "the", "list", "of", "words", "and", "return", "it", "sorted", "by", "length", "twice"]
DS = table(
    [f"Write number {i}: {' '.join(WORDS[: i % 5 + 1])}." for i in range(8)],
    [f"def f{i}({WORDS[i]}):\n    return {' + '.join(WORDS[: 1 + 7 * i % 11])}" for i in range(8)],
)
FAST = {"dtype": "float32", "device": "cpu", "max_length": 256, "learning_rate": 1e-2}


def losses(run: Run) -> list[float]:
    return [record["loss"] for record in run.history]


def weights(run: Run) -> dict[str, torch.Tensor]:
    (file,) = run.model_dir.glob("*.safetensors")
    return load_file(file)


def same_training(run: Run, expected: Run) -> None:
    """The same losses at each step, and the same weights at the end."""
    assert losses(run) == pytest.approx(losses(expected), rel=1e-5)
    found, wanted = weights(run), weights(expected)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        # Adam turns the rounding of a gradient near zero into a step of its own.
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5, msg=name)


def hold_at(step: int, monkeypatch) -> threading.Event:
    """Let a run wait at `step` until it is asked to stop; the event tells that it is there."""
    append, there = RunFolder.append, threading.Event()

    def hold(folder, found):
        append(folder, found)
        if found["step"] == step:
            there.set()
            until = time.monotonic() + 30
            while not folder.stop_file.exists():
                assert time.monotonic() < until
                time.sleep(0.01)

    monkeypatch.setattr(RunFolder, "append", hold)
    return there


def fail_at(step: int, monkeypatch) -> None:
    """Let the loss of `step` be NaN, once."""
    on_log = loop._Reporter.on_log

    def broken(self, args, state, control, logs, **kwargs):
        if state.global_step == step and "loss" in logs:
            monkeypatch.undo()
            logs = logs | {"loss": float("nan")}
        return on_log(self, args, state, control, logs, **kwargs)

    monkeypatch.setattr(loop._Reporter, "on_log", broken)

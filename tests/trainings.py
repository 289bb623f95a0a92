"""Short trainings for tests, and functions that pause, break, kill and compare them."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import table
from safetensors.torch import load_file

from workbench.training import Run, finetune, loop
from workbench.training.folder import RunFolder

WORDS = ["add", "the", "list", "of", "words", "and", "return", "it", "sorted", "by", "length", "twice"]
DS = table(
    [f"Write number {i}: {' '.join(WORDS[: i % 5 + 1])}." for i in range(8)],
    [f"def f{i}({WORDS[i]}):\n    return {' + '.join(WORDS[: 1 + 7 * i % 11])}" for i in range(8)],
)
FAST = {"dtype": "float32", "device": "cpu", "max_length": 256, "learning_rate": 1e-2}
STEPS = 80  # of a training with the settings LONG
LONG = {"batch_size": 2, "epochs": STEPS // 4, "learning_rate": 1e-3}
ENDLESS = LONG | {"epochs": 10_000}


def starter(model: Path, output_dir: Path) -> Callable[..., Run]:
    """Return a function that starts a LONG run of `model`, in `output_dir` unless it is given another."""

    def start(folder: Path = output_dir, **settings) -> Run:
        return finetune(DS, model, folder, **FAST | LONG | {"save_steps": 8} | settings)

    return start


def stopped_run(model: Path, folder: Path) -> Run:
    """Return a stopped run, which has a checkpoint."""
    run = finetune(DS, model, folder, **FAST | ENDLESS)
    until(lambda: run.history)
    return run.stop()


def until(condition: Callable, seconds: float = 30):
    """Wait until `condition()` is true, and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return value


def steps_of(run: Run) -> int:
    return run.history[-1]["step"] if run.history else 0


def losses(run: Run) -> list[float]:
    return [record["loss"] for record in run.history]


def reproducible(run: Run) -> list[dict]:
    """Return the history without the figures that differ from one run of the same steps to the next."""
    return [
        {name: record[name] for name in ("step", "loss", "learning_rate", "tokens")} for record in run.history
    ]


def weights(run: Run) -> dict[str, torch.Tensor]:
    (file,) = run.model_dir.glob("*.safetensors")
    return load_file(file)


def same_training(run: Run, expected: Run, atol: float = 1e-5) -> None:
    """Assert that both runs have the same losses at each step, and weights within `atol` at the end."""
    assert losses(run) == pytest.approx(losses(expected), rel=1e-5)
    actual_weights, expected_weights = weights(run), weights(expected)
    assert actual_weights.keys() == expected_weights.keys()
    for name, tensor in expected_weights.items():
        # Adam turns rounding errors of a gradient near zero into full steps.
        torch.testing.assert_close(actual_weights[name], tensor, rtol=1e-5, atol=atol, msg=name)


def kill(run: Run) -> None:
    """Kill the process of a detached run."""
    os.kill(run._folder.read()["process"]["pid"], signal.SIGKILL)
    until(lambda: not run.active)


def hold_at(step: int, monkeypatch) -> threading.Event:
    """Make a run pause at `step` until a stop is requested; the returned event is set at the pause."""
    append, reached = RunFolder.append, threading.Event()

    def hold(folder, record):
        append(folder, record)
        if record["step"] == step:
            reached.set()
            until(folder.stop_file.exists)

    monkeypatch.setattr(RunFolder, "append", hold)
    return reached


def fail_at(step: int, monkeypatch) -> None:
    """Make the loss of `step` NaN, once."""
    on_log = loop._Reporter.on_log

    def broken(self, args, state, control, logs, **kwargs):
        if state.global_step == step and "loss" in logs:
            monkeypatch.undo()
            logs = logs | {"loss": float("nan")}
        return on_log(self, args, state, control, logs, **kwargs)

    monkeypatch.setattr(loop._Reporter, "on_log", broken)

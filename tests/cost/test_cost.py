"""Cost prediction: fits and predictions computed by hand, the measurement, its cache, and error messages."""

import json
import runpy
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

import workbench as wb
from workbench import packing
from workbench.core.errors import UserError
from workbench.cost import Calibration, Cost, calibration, measure, prediction, stored
from workbench.lm import models
from workbench.training import TrainingSettings, loop, processes

TOY = {"dtype": "float32", "device": "cpu"}
# seconds = 0.5 per pass + 0.25 per step + 0.01 per token + 0.0001 per squared length
# bytes = 1000 + 20 per token, with 300 bytes of gradients
KNOWN = Calibration(0.5, 0.25, 0.01, 0.0001, 1000.0, 300.0, 20.0)


def passes(*sizes: int) -> list[dict]:
    """Return passes that cost what `KNOWN` says, two per step: short samples, then long ones."""
    shapes = [shape for n in sizes for shape in ((n, 32 * n, 0), (2 * n, 4 * n * n, 1))]
    return [
        {
            "tokens": tokens,
            "squares": squares,
            "ends_step": end,
            "seconds": 0.5 + 0.25 * end + 0.01 * tokens + 0.0001 * squares,
            "peak_bytes": 1000 + 20 * tokens,
        }
        for tokens, squares, end in shapes
    ]


def test_the_fit_recovers_the_coefficients():
    fitted = prediction.fit(passes(128, 512), 300)
    assert vars(fitted) == pytest.approx(vars(KNOWN))


def test_the_fit_uses_medians_and_ignores_small_passes():
    slow = [step | {"seconds": 9 * step["seconds"], "peak_bytes": 10**6} for step in passes(64)]
    disturbed = [step | {"seconds": 5 * step["seconds"], "peak_bytes": 9999} for step in passes(512)]
    fitted = prediction.fit(slow + passes(128, 512) + disturbed + passes(128, 512), 300)
    assert vars(fitted) == pytest.approx(vars(KNOWN))


def test_no_coefficient_is_negative():
    falling = [step | {"seconds": 9 - 0.001 * step["tokens"], "peak_bytes": 9} for step in passes(128, 512)]
    assert min(vars(prediction.fit(falling, 0)).values()) >= 0


# Batches [3, 7] and [5]: 2 passes per epoch. Squares: 9 + 49 + 25 = 83 per epoch.
@pytest.mark.parametrize(
    ("strategy", "epochs", "accumulation", "steps", "seconds", "peak"),
    [
        # passes * 0.5 + steps * 0.25 + tokens * 0.01 + squares * 0.0001; 1000 + max(0, 20 * largest - 300)
        ("max", 1, 1, 2, 1 + 0.5 + 0.60 + 0.0083, 1500),  # 40 + 20 tokens
        (
            "pad",
            1,
            1,
            2,
            1 + 0.5 + 0.19 + 0.0083,
            1000,
        ),  # 14 + 5; the optimizer needs more
        ("pad", 1, 2, 1, 1 + 0.25 + 0.19 + 0.0083, 1280),  # gradients are in memory during the second pass
        ("flat", 3, 1, 6, 3 + 1.5 + 0.45 + 0.0249, 1000),  # 10 + 5
        ("flat", 3, 4, 2, 3 + 0.5 + 0.45 + 0.0249, 1200),  # 6 passes: a step of 4 and one of 2
    ],
)
def test_predictions_match_those_computed_by_hand(strategy, epochs, accumulation, steps, seconds, peak):
    plan = packing.pack([3, 7, 5], 20, strategy, batch_size=2, seed=None)
    cost = KNOWN.predict(plan, epochs, accumulation)
    assert (cost.steps, cost.peak_bytes) == (steps, peak)
    assert cost.seconds == pytest.approx(seconds)


def test_an_empty_plan_takes_no_time():
    assert KNOWN.predict(packing.pack([], strategy="flat")) == Cost(0, 0.0, 1000)


@pytest.mark.parametrize("strategy", ["max", "pad", "flat"])
def test_computed_tokens_are_those_of_the_plan(strategy):
    lengths = np.random.default_rng(0).integers(1, 200, 500)
    plan = packing.pack(lengths, 150, strategy, batch_size=7)
    tokens, squares = prediction._work(plan)
    assert tokens.sum() == plan.n_computed
    assert tokens.max() == max(len(batch) * width(plan, batch) for batch in plan.batches)
    assert squares == (np.minimum(lengths, 150) ** 2).sum()


def width(plan, batch) -> int:
    """Return the padded width of a batch, in tokens."""
    return plan.max_length if plan.to_max else max(plan.lengths[row].sum() for row in batch)


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "about 40 s"), (840, "about 14 min"), (12_600, "about 3.5 h")]
)
def test_a_cost_prints_as_a_sentence(seconds, text):
    assert str(Cost(1200, seconds, 3_328_599_655)) == f"1,200 steps, {text}, peak 3.1 GiB"


def test_the_steps_of_a_ladder_grow():
    ladder = measure.Ladder(context=512)
    assert ladder.sizes == [*[32] * 4, 512, 2048, 8192, *[2048, 8192] * 2]
    assert len(ladder) == 22
    assert [ladder.lengths(t) for t in (6, 7, 8, 9)] == [[32], [64], [32] * 16, [512, 512]]
    assert ladder.work(9) == {"tokens": 1024, "squares": 2 * 512**2, "ends_step": 1}
    assert [len(row[0].input_ids) for row in ladder[9]] == [512, 512]
    assert ladder[7][0][0].n_targets == 38  # of 64


@pytest.mark.parametrize("method", ["full", "lora"])
def test_measure_records_each_pass_of_a_toy_model(toy_model_dir, method):
    settings = TrainingSettings(method=method, accumulation=4, strategy="max", **TOY)
    measurement = measure.measure(str(toy_model_dir("llama")), settings, seconds=0.1)
    measured = measurement["passes"]
    assert [step["tokens"] for step in measured] == [32, 64] * 3 + [512, 1024]  # no time for more
    assert [step["ends_step"] for step in measured] == [0, 1] * 4
    assert all(step["seconds"] > 0 and step["peak_bytes"] > 2**20 for step in measured)
    # 2 layers with 4 query heads and 2 key heads of size 8: all weights, or two rank-8 factors per matrix
    full = 384 * 32 * 2 + 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64 + 2 * 32) + 32
    lora = 2 * 8 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 64))
    assert measurement["gradient_bytes"] == 4 * (full if method == "full" else lora)


@pytest.mark.parametrize("passes_done", [10, 9])
def test_running_out_of_memory_ends_the_measurement(toy_model_dir, monkeypatch, passes_done):
    step, passed = loop._PlanTrainer.training_step, []

    def scarce(*args, **kwargs):
        if len(passed) == passes_done:
            raise RuntimeError("can't allocate memory")
        passed.append(1)
        return step(*args, **kwargs)

    monkeypatch.setattr(loop._PlanTrainer, "training_step", scarce)
    with nullcontext() if passes_done == 10 else pytest.raises(RuntimeError, match="can't allocate"):
        measurement = measure.measure(str(toy_model_dir("llama")), TrainingSettings(**TOY), seconds=60)
        assert [step["tokens"] for step in measurement["passes"]] == [32, 64] * 3 + [512, 1024]


def test_measuring_on_a_busy_device_raises(toy_model_dir, monkeypatch):
    monkeypatch.setattr(measure, "_PATIENCE", 0.1)
    monkeypatch.setattr(processes, "turn", lambda *args: nullcontext(False))
    with pytest.raises(UserError, match="another run uses device='cpu'; calibrate after it has ended"):
        measure.measure(str(toy_model_dir("llama")), TrainingSettings(**TOY), seconds=1)


@pytest.mark.slow
def test_a_measurement_is_cached(toy_model_dir, monkeypatch):
    """This makes one real measurement, in a process of its own."""
    calls, measure_once = [], calibration._in_fresh_process

    def counted(*args):
        calls.append(args)
        return measure_once(*args)

    monkeypatch.setattr(calibration, "_in_fresh_process", counted)
    model = toy_model_dir("llama")
    assert stored(model, **TOY) is None
    first = wb.calibrate(model, seconds=0.1, **TOY)
    assert first.fixed_bytes < 2**27  # without the process, which imports PyTorch
    assert first == wb.calibrate(model, batch_size=2, epochs=9, max_length=99, learning_rate=1e-3, **TOY)
    assert first == stored(model, accumulation=8, strategy="flat", **TOY)
    assert stored(model, method="lora", **TOY) is None
    assert stored(model, gradient_checkpointing=True, **TOY) is None
    assert len(calls) == 1
    monkeypatch.setattr(
        calibration, "_in_fresh_process", lambda *args: {"passes": passes(128, 512), "gradient_bytes": 0}
    )
    assert wb.calibrate(model, cache=False, **TOY) == stored(model, **TOY) != first


def test_looking_up_a_calibration_downloads_no_model(monkeypatch):
    monkeypatch.setattr(models, "_from_hub", lambda *args: pytest.fail("contacted the hub"))
    assert stored("nobody/nothing", **TOY) is None
    assert models.on_disk("smollm2-135m-q4_1") is None  # the cache of this test is empty


def test_a_user_error_crosses_the_process_boundary(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["workbench.cost", "nowhere", json.dumps(TOY), "1"])
    runpy.run_module("workbench.cost", run_name="__main__")
    completed = subprocess.CompletedProcess([], 0, stdout="a warning\n" + capsys.readouterr().out)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: completed)
    with pytest.raises(UserError, match="model='nowhere' cannot be found"):
        calibration._in_fresh_process("nowhere", TrainingSettings(**TOY), 1.0)


def test_a_killed_measurement_suggests_less_memory(monkeypatch):
    killed = subprocess.CompletedProcess([], -9, stderr="loading\nKilled")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: killed)
    with pytest.raises(
        UserError, match=r"(?s)ended with exit code -9, .* memory runs out; try method='lora'.*Killed"
    ):
        calibration._in_fresh_process("large", TrainingSettings(**TOY), 1.0)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"seconds": 0}, "seconds=0 must be above 0"),
        ({"leaky": True}, "leaky=True is for comparisons"),
        ({"method": "qlora", "device": "cpu"}, "method='qlora' needs an NVIDIA GPU"),
        ({"metod": "lora"}, "setting='metod' is not known"),
    ],
    ids=str,
)
def test_invalid_settings_raise(settings, text):
    with pytest.raises(UserError, match=text):
        wb.calibrate("smollm2-135m", **settings)


@pytest.mark.parametrize("count", [{"epochs": 0}, {"accumulation": 1.5}], ids=str)
def test_counts_must_be_whole_numbers(count):
    with pytest.raises(UserError, match="must be a whole number of at least 1"):
        KNOWN.predict(packing.pack([3]), **count)

"""Cost before commitment: a fit and a prediction worked by hand, the store, the panel, and mistakes told."""

import asyncio
import json
import runpy
import subprocess
import sys
import threading
from contextlib import nullcontext

import numpy as np
import pytest

import workbench as wb
from workbench import packing
from workbench.core.errors import UserError
from workbench.cost import Calibration, Cost, calibration, measure, prediction, stored
from workbench.lm import models
from workbench.training import TrainingSettings, loop, processes
from workbench.widgets import ErrorPanel
from workbench.widgets import cost as panel

TOY = {"dtype": "float32", "device": "cpu"}
# seconds = 0.5 a pass + 0.25 a step + 0.01 a token + 0.0001 a squared length; bytes = 1000 + 20 a token, of
# which 300 only where gradients are.
KNOWN = Calibration(0.5, 0.25, 0.01, 0.0001, 1000.0, 300.0, 20.0)


def passes(*sizes: int) -> list[dict]:
    """What `measure` would find of `KNOWN`, in steps of short samples and long ones."""
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


def test_the_fit_finds_what_made_the_times():
    found = prediction.fit(passes(128, 512), 300)
    assert vars(found) == pytest.approx(vars(KNOWN))


def test_the_fit_takes_medians_and_leaves_small_passes_out():
    slow = [one | {"seconds": 9 * one["seconds"], "peak_bytes": 10**6} for one in passes(64)]
    disturbed = [one | {"seconds": 5 * one["seconds"], "peak_bytes": 9999} for one in passes(512)]
    found = prediction.fit(slow + passes(128, 512) + disturbed + passes(128, 512), 300)
    assert vars(found) == pytest.approx(vars(KNOWN))


def test_no_part_costs_less_than_nothing():
    falling = [one | {"seconds": 9 - 0.001 * one["tokens"], "peak_bytes": 9} for one in passes(128, 512)]
    assert min(vars(prediction.fit(falling, 0)).values()) >= 0


# Batches [3, 7] and [5]: 2 passes an epoch. squares 9 + 49 + 25 = 83 an epoch.
@pytest.mark.parametrize(
    ("strategy", "epochs", "accumulation", "steps", "seconds", "peak"),
    [
        # passes x 0.5 + steps x 0.25 + tokens x 0.01 + squares x 0.0001; 1000 + max(0, 20 x most - 300)
        ("max", 1, 1, 2, 1 + 0.5 + 0.60 + 0.0083, 1500),  # 40 + 20 tokens
        ("pad", 1, 1, 2, 1 + 0.5 + 0.19 + 0.0083, 1000),  # 14 + 5: the optimizer needs more than that
        ("pad", 1, 2, 1, 1 + 0.25 + 0.19 + 0.0083, 1280),  # gradients are there in the second pass
        ("flat", 3, 1, 6, 3 + 1.5 + 0.45 + 0.0249, 1000),  # 10 + 5
        ("flat", 3, 4, 2, 3 + 0.5 + 0.45 + 0.0249, 1200),  # 6 passes: a step of 4 and one of 2
    ],
)
def test_a_prediction_worked_by_hand(strategy, epochs, accumulation, steps, seconds, peak):
    plan = packing.pack([3, 7, 5], 20, strategy, batch_size=2, seed=None)
    cost = KNOWN.predict(plan, epochs, accumulation)
    assert (cost.steps, cost.peak_bytes) == (steps, peak)
    assert cost.seconds == pytest.approx(seconds)


def test_an_empty_plan_costs_no_time():
    assert KNOWN.predict(packing.pack([], strategy="flat")) == Cost(0, 0.0, 1000)


@pytest.mark.parametrize("strategy", ["max", "pad", "flat"])
def test_what_is_computed_is_what_the_plan_computes(strategy):
    lengths = np.random.default_rng(0).integers(1, 200, 500)
    plan = packing.pack(lengths, 150, strategy, batch_size=7)
    tokens, squares = prediction._work(plan)
    assert tokens.sum() == plan.n_computed
    assert tokens.max() == max(len(b) * (150 if plan.to_max else width(plan, b)) for b in plan.batches)
    assert squares == (np.minimum(lengths, 150) ** 2).sum()


def width(plan, batch) -> int:
    return max(plan.lengths[row].sum() for row in batch)


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "about 40 s"), (840, "about 14 min"), (12_600, "about 3.5 h")]
)
def test_a_cost_reads_as_a_sentence(seconds, text):
    assert str(Cost(1200, seconds, 3_328_599_655)) == f"1,200 steps, {text}, peak 3.1 GiB"


def test_a_ladder_grows():
    ladder = measure.Ladder(context=512)
    assert ladder.sizes == [*[32] * 4, 512, 2048, 8192, *[2048, 8192] * 2]
    assert len(ladder) == 22
    assert [ladder.lengths(t) for t in (6, 7, 8, 9)] == [[32], [64], [32] * 16, [512, 512]]
    assert ladder.work(9) == {"tokens": 1024, "squares": 2 * 512**2, "ends_step": 1}
    assert [len(row[0].input_ids) for row in ladder[9]] == [512, 512]
    assert ladder[7][0][0].n_targets == 38  # of 64


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_toy_is_measured(toy_model_dir, method):
    settings = TrainingSettings(method=method, accumulation=4, strategy="max", **TOY)
    found = measure.measure(str(toy_model_dir("llama")), settings, seconds=0.1)
    assert [one["tokens"] for one in found["passes"]] == [32, 64] * 3 + [512, 1024]  # no time for more
    assert [one["ends_step"] for one in found["passes"]] == [0, 1] * 4
    assert all(one["seconds"] > 0 and one["peak_bytes"] > 2**20 for one in found["passes"])
    # 2 layers, 4 heads of 8, 2 of them for keys: weights, or rank 8 on either side of each matrix.
    full = 384 * 32 * 2 + 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64 + 2 * 32) + 32
    lora = 2 * 8 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 64))
    assert found["gradient_bytes"] == 4 * (full if method == "full" else lora)


@pytest.mark.parametrize("passes_done", [10, 9])
def test_memory_that_runs_out_ends_the_ladder(toy_model_dir, monkeypatch, passes_done):
    step, passed = loop._PlanTrainer.training_step, []

    def scarce(*args, **kwargs):
        if len(passed) == passes_done:
            raise RuntimeError("can't allocate memory")
        passed.append(1)
        return step(*args, **kwargs)

    monkeypatch.setattr(loop._PlanTrainer, "training_step", scarce)
    with nullcontext() if passes_done == 10 else pytest.raises(RuntimeError, match="can't allocate"):
        found = measure.measure(str(toy_model_dir("llama")), TrainingSettings(**TOY), seconds=60)
        assert [one["tokens"] for one in found["passes"]] == [32, 64] * 3 + [512, 1024]


def test_a_busy_device_is_not_measured(toy_model_dir, monkeypatch):
    monkeypatch.setattr(measure, "_PATIENCE", 0.1)
    monkeypatch.setattr(processes, "turn", lambda *args: nullcontext(False))
    with pytest.raises(UserError, match="another run uses device='cpu'; calibrate when it has ended"):
        measure.measure(str(toy_model_dir("llama")), TrainingSettings(**TOY), seconds=1)


def test_what_was_measured_is_not_measured_again(toy_model_dir, monkeypatch):
    """One real measurement, in its own process."""
    asked, measured = [], calibration._in_fresh_process

    def counted(*args):
        asked.append(args)
        return measured(*args)

    monkeypatch.setattr(calibration, "_in_fresh_process", counted)
    model = toy_model_dir("llama")
    assert stored(model, **TOY) is None
    first = wb.calibrate(model, seconds=0.1, **TOY)
    assert first.fixed_bytes > 2**26  # a process with PyTorch in it
    assert first == wb.calibrate(model, batch_size=2, epochs=9, max_length=99, learning_rate=1e-3, **TOY)
    assert first == stored(model, accumulation=8, strategy="flat", **TOY)
    assert stored(model, method="lora", **TOY) is None
    assert stored(model, gradient_checkpointing=True, **TOY) is None
    assert len(asked) == 1
    monkeypatch.setattr(
        calibration, "_in_fresh_process", lambda *args: {"passes": passes(128, 512), "gradient_bytes": 0}
    )
    assert wb.calibrate(model, cache=False, **TOY) == stored(model, **TOY) != first


def test_a_model_that_is_not_here_is_not_fetched(monkeypatch):
    monkeypatch.setattr(models, "_from_hub", lambda *args: pytest.fail("asked the hub"))
    assert stored("nobody/nothing", **TOY) is None
    assert models.on_disk("smollm2-135m-q4_1") is None  # in this test's empty cache


def test_a_mistake_leaves_the_process_as_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["workbench.cost", "nowhere", json.dumps(TOY), "1"])
    runpy.run_module("workbench.cost", run_name="__main__")
    ended = subprocess.CompletedProcess([], 0, stdout="a warning\n" + capsys.readouterr().out)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: ended)
    with pytest.raises(UserError, match="model='nowhere' cannot be found"):
        calibration._in_fresh_process("nowhere", TrainingSettings(**TOY), 1.0)


def test_a_process_that_is_killed_is_told(monkeypatch):
    killed = subprocess.CompletedProcess([], -9, stderr="loading\nKilled")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: killed)
    with pytest.raises(UserError, match=r"(?s)ended with -9, .* memory runs out; try method='lora'.*Killed"):
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
def test_mistakes_are_told(settings, text):
    with pytest.raises(UserError, match=text):
        wb.calibrate("smollm2-135m", **settings)


@pytest.mark.parametrize("count", [{"epochs": 0}, {"accumulation": 1.5}], ids=str)
def test_counts_are_whole(count):
    with pytest.raises(UserError, match="must be a whole number of at least 1"):
        KNOWN.predict(packing.pack([3]), **count)


class Dashboard:
    """What a `CostPanel` is told, and it."""

    def __init__(self, **settings):
        self.lengths, self.errors = [3, 7, 5], ErrorPanel()
        self.settings = {"model": "some", "epochs": 1, "method": "lora"} | settings
        self.panel = panel.CostPanel(
            lambda: packing.pack(self.lengths, 20, "flat", batch_size=2), lambda: self.settings, self.errors
        )

    @property
    def text(self) -> str:
        return self.panel.line.value.removeprefix("<span>").removesuffix("</span>")

    @property
    def asks(self) -> bool:
        return self.panel.button.layout.display != "none"


def test_what_is_stored_stands_there_without_a_click(monkeypatch):
    asked = []
    monkeypatch.setattr(panel, "stored", lambda **settings: asked.append(settings) or KNOWN)
    dashboard = Dashboard()
    assert dashboard.text == "Training on this: 2 steps, about 2 s, peak 0.0 GiB"
    assert not dashboard.asks
    dashboard.lengths = [5] * 200
    dashboard.settings |= {"epochs": 3}
    dashboard.panel.refresh()
    assert dashboard.text == "Training on this: 300 steps, about 4 min, peak 0.0 GiB"
    assert asked == [{"model": "some", "method": "lora"}]  # the epochs need no other look


def test_other_settings_ask_again(monkeypatch):
    monkeypatch.setattr(panel, "stored", lambda method, **other: KNOWN if method == "lora" else None)
    dashboard = Dashboard()
    dashboard.settings |= {"method": "full"}
    dashboard.panel.refresh()
    assert dashboard.asks
    assert dashboard.text == ""
    dashboard.settings |= {"method": "lora"}
    dashboard.panel.refresh()
    assert dashboard.text.startswith("Training on this")


def test_a_click_measures_and_the_notebook_goes_on(monkeypatch):
    monkeypatch.setattr(panel, "stored", lambda **settings: None)
    here, done = threading.Event(), threading.Event()

    def slow(**settings):
        here.set()
        assert done.wait(10)
        return KNOWN

    monkeypatch.setattr(panel, "calibrate", slow)

    async def in_a_notebook():
        dashboard = Dashboard()
        dashboard.panel.button.click()
        await asyncio.to_thread(here.wait, 10)
        dashboard.panel.refresh()  # the slider moves
        assert dashboard.text == "measuring some steps ..."
        assert dashboard.panel.button.disabled
        done.set()
        while dashboard.panel.button.disabled:
            await asyncio.sleep(0.01)
        return dashboard

    dashboard = asyncio.run(in_a_notebook())
    assert dashboard.text.startswith("Training on this: 2 steps")
    assert dashboard.errors.last is None


def test_a_failed_measurement_is_shown_and_can_be_tried_again(monkeypatch):
    monkeypatch.setattr(panel, "stored", lambda **settings: None)
    dashboard = Dashboard(model="nowhere", metod="lora")
    assert dashboard.errors.last is None  # looking is silent
    dashboard.panel.button.click()
    assert "setting='metod' is not known" in str(dashboard.errors.last)
    assert dashboard.asks
    assert not dashboard.panel.button.disabled
    assert dashboard.text == ""

"""Evaluation during training: correct scores, at the right steps, without an effect on the training."""

import random

import detached
import numpy as np
import pytest
import torch
from conftest import table
from safetensors.torch import load_file

import workbench as wb
from workbench.core.errors import UserError
from workbench.evaluation import SandboxError, heldout_loss, level, quick
from workbench.lm import models
from workbench.lm.attention import packed_attention
from workbench.training import Run, finetune, job, quality

try:
    level()
except SandboxError as refused:
    pytest.skip(str(refused), allow_module_level=True)

DS = table(
    [f"Write number {i}." for i in range(12)], [f"def f{i}(x):\n    return {i} + x" for i in range(12)]
)
HELD_OUT = table(
    ["Add two numbers.", "Reverse the string.", "Say hi."], ["a + b", "text[::-1]", "print('hi')"]
).add_column("check", ["assert x == 1", "assert x == 2", "assert x == 1"])
FAST = {"dtype": "float32", "device": "cpu", "learning_rate": 1e-2, "batch_size": 4, "max_length": 128}


@pytest.fixture
def tune(toy_model_dir, tmp_path):
    """Return a function that trains the toy llama to the end and returns the run."""

    def start(name: str, heldout=None, **settings) -> Run:
        return finetune(
            DS, toy_model_dir("llama"), tmp_path / name, heldout=heldout, **FAST | settings
        ).wait()

    return start


def column(run: Run, name: str) -> list:
    return [record.get(name) for record in run.history]


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "full"},
        {"method": "lora", "gradient_checkpointing": True},
        {"leaky": True, "strategy": "pad"},
    ],
    ids=["full", "lora with dropout", "leaky"],
)
def test_evaluation_does_not_change_the_training(tune, settings):
    plain = tune("plain", epochs=2, **settings)
    evaluated = tune(
        "evaluated", HELD_OUT, epochs=2, eval_steps=1, eval_tasks=2, eval_max_new_tokens=4, **settings
    )
    assert column(evaluated, "eval_error") == [None] * 6
    assert column(evaluated, "loss") == column(plain, "loss")
    expected = load_file(*plain.model_dir.glob("*.safetensors"))
    for name, tensor in load_file(*evaluated.model_dir.glob("*.safetensors")).items():
        assert torch.equal(tensor, expected[name]), name


def test_evaluation_happens_every_eval_steps_and_after_the_last(tune):
    run = tune("run", HELD_OUT, epochs=2, batch_size=4, eval_steps=4)
    measured = [record["step"] for record in run.history if "heldout_loss" in record]
    assert (run.history[-1]["of"], measured) == (6, [4, 6])
    assert column(run, "pass_at_1") == [None] * 6
    assert run.history[-1]["seconds"] >= run.history[-2]["seconds"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_heldout_loss_is_that_of_the_saved_model(tune, method):
    run = tune("run", HELD_OUT, method=method, eval_steps=100)
    model, tokenizer = models.load_model(run.model_dir, "float32", "cpu")
    assert run.history[-1]["heldout_loss"] == pytest.approx(
        heldout_loss(model, tokenizer, HELD_OUT), rel=1e-4
    )


def test_pass_at_1_is_the_share_of_tasks_solved(tune, monkeypatch):
    monkeypatch.setattr(quick, "generate", lambda model, tokenizer, prompts, **_: ["x = 1"] * len(prompts))
    run = tune("run", HELD_OUT, eval_steps=100, eval_tasks=3)
    assert run.history[-1]["pass_at_1"] == pytest.approx(2 / 3)
    assert "pass@1 66.7%" in run.log()


def test_preference_and_margin_are_those_of_the_saved_model(tune):
    tasks = wb.load("bundled").select(range(3))
    run = tune("run", tasks, eval_steps=100, eval_twins=3, max_length=2048)
    report = wb.evaluate(str(run.model_dir), tasks, measures=("preference",), dtype="float32", device="cpu")
    last = run.history[-1]
    assert "eval_error" not in last
    for name in ("preference", "margin"):
        assert last[name] == pytest.approx(report.measures.loc[name, "value"], rel=1e-4)
    assert f"preference {last['preference']:.1%}" in run.log()


@pytest.mark.usefixtures("evalplus")
def test_pass_at_1_on_a_benchmark(toy_model_dir, monkeypatch, tmp_path):
    solved = "def f(x):\n    return x + 1"
    monkeypatch.setattr(
        quick, "generate_answers", lambda backend, prompts, decoding: [[solved], ["def f(x):\n    return x"]]
    )
    monkeypatch.setattr(quick, "code_tasks", lambda name: quick_tasks())
    model, tokenizer = models.load_model(toy_model_dir("llama"), "float32", "cpu")
    score = quick.pass_at_1(model, tokenizer, "humaneval", None, 2, template="deepseek", max_new_tokens=8)
    assert score == 0.5


def quick_tasks():
    from workbench.evaluation.benchmarks import Benchmark
    from workbench.evaluation.tasks import EvalPlusTasks

    task = {"prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x + 1", "atol": 0}
    inputs = {"base_input": [[1], [2]], "plus_input": [[3]]}
    tasks = {f"HumanEval/{i}": task | inputs | {"task_id": f"HumanEval/{i}"} for i in range(4)}
    return EvalPlusTasks("humaneval", Benchmark("humaneval", "unknown", "0", tasks))


@pytest.mark.parametrize(("n", "items"), [(1, [0]), (2, [0, 5]), (3, [0, 3, 6]), (10, list(range(10)))])
def test_tasks_are_evenly_spread(n, items):
    assert quick.spread(range(10), n) == items
    assert quick.spread(range(10), 99) == list(range(10))


def test_a_failed_evaluation_is_recorded_and_does_not_end_the_training(tune, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no judge")

    monkeypatch.setattr(quality, "heldout_loss", fails)
    run = tune("run", HELD_OUT, eval_steps=2)
    assert run.status == "done"
    assert column(run, "eval_error")[1] == "RuntimeError: no judge"
    assert "not measured: RuntimeError: no judge" in run.log()


def test_a_measure_that_fails_leaves_the_others(tune, monkeypatch):
    def fails(*args, **kwargs):
        raise UserError("no loss")

    monkeypatch.setattr(quality, "heldout_loss", fails)
    run = tune("run", HELD_OUT, eval_steps=100, eval_tasks=1, eval_max_new_tokens=2).wait()
    assert run.history[-1]["eval_error"] == "UserError: no loss"
    assert run.history[-1]["pass_at_1"] in (0, 1)


def test_a_detached_run_is_evaluated_too(toy_model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "_spawn", detached.spawn)
    run = finetune(
        DS, toy_model_dir("llama"), tmp_path / "run", detached=True, heldout=HELD_OUT, eval_steps=2, **FAST
    ).wait()
    assert [record["step"] for record in run.history if "heldout_loss" in record] == [2, 3]


@pytest.mark.parametrize(
    ("heldout", "settings", "message"),
    [
        (HELD_OUT, {}, "heldout is evaluated every eval_steps optimizer steps; give eval_steps too"),
        (None, {"eval_steps": 5}, "eval_steps=5 needs something to evaluate: heldout=TABLE or eval_tasks"),
        (None, {"eval_steps": 5, "eval_tasks": 2}, "eval_tasks needs held-out rows with a column 'check'"),
        (DS, {"eval_steps": 5, "eval_tasks": 2}, "eval_tasks needs held-out rows with a column 'check'"),
        (DS, {"eval_steps": 5, "eval_twins": 2}, "eval_twins needs held-out rows with a column 'check'"),
        (DS.remove_columns("response"), {"eval_steps": 5}, "column 'response' is missing"),
        (HELD_OUT, {"eval_steps": 0}, "eval_steps=0 must be a whole number of at least 1"),
        (HELD_OUT, {"eval_steps": 1, "eval_tasks": -1}, "eval_tasks=-1 must be a whole number"),
        (HELD_OUT, {"eval_steps": 1, "eval_benchmark": "gsm8k"}, "eval_benchmark='gsm8k' is not known"),
    ],
)
def test_an_impossible_evaluation_raises_at_once(toy_model_dir, tmp_path, heldout, settings, message):
    with pytest.raises(UserError, match=message):
        finetune(DS, toy_model_dir("llama"), tmp_path / "run", heldout=heldout, **FAST | settings)
    assert not (tmp_path / "run").exists()


def test_evaluation_mode_restores_the_model_and_the_random_states(toy_model_dir):
    model, _ = models.load_model(toy_model_dir("llama"), "float32", "cpu")
    model.train()
    attention = model.config._attn_implementation

    def draws_after(action) -> list:
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        action()
        return [random.random(), np.random.rand(), torch.rand(1).item()]

    def measure():
        with packed_attention(model), quality.evaluation_mode(model, attention):
            assert not model.training
            model(input_ids=torch.tensor([[1, 2]])).logits.sum()
            random.random(), np.random.rand(), torch.rand(1)

    assert draws_after(measure) == draws_after(lambda: None)
    assert model.training
    with packed_attention(model):
        packed = model.forward, model.config._attn_implementation
        with quality.evaluation_mode(model, attention):
            assert (model.forward, model.config._attn_implementation) != packed
        assert (model.forward, model.config._attn_implementation) == packed


def test_evaluation_mode_shows_no_progress(toy_model_dir, monkeypatch, capsys):
    monkeypatch.delenv("WORKBENCH_QUIET")
    model, tokenizer = models.load_model(toy_model_dir("llama"), "float32", "cpu")
    with quality.evaluation_mode(model, model.config._attn_implementation):
        heldout_loss(model, tokenizer, HELD_OUT)
    assert capsys.readouterr().err == ""
    heldout_loss(model, tokenizer, HELD_OUT)
    assert "held-out loss" in capsys.readouterr().err

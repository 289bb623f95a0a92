"""Settings are checked when they are given: nothing is left for the run to refuse."""

import math

import pytest
from trainings import DS, FAST

from workbench.core.errors import UserError
from workbench.training import TrainingSettings, finetune
from workbench.training.settings import SCHEDULERS


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("dtype", ["bf16", None, ["float32"]], "choose one of auto, bfloat16, float16, float32"),
        ("scheduler", ["cosin", "reduce_lr_on_plateau"], "choose one of constant, .*cosine"),
        ("train_on", ["first", None], "choose one of all, last"),
        ("template", ["alpaca"], "choose one of auto, chat, codellama, deepseek"),
        ("optimizer", [["adamw"]], "choose one of adafactor, adamw"),
        ("device", ["gpu", "cuda:x", None, 0.5], "'cpu', 'mps', 'cuda', or one GPU of several .*'cuda:1'"),
        ("seed", [-1, 0.5, True, 2**32, "0"], "must be a whole number from 0 to 4,294,967,295"),
        ("warmup_steps", [-3, 0.1, True], "must be a whole number of at least 0"),
        ("eval_tasks", [-1, False], "must be a whole number of at least 0"),
        ("eval_twins", [-1, 2.5], "must be a whole number of at least 0"),
        ("weight_decay", [-0.5, math.nan, math.inf], "must be a finite number of at least 0"),
        ("lora_dropout", [-0.1, 1, 1.5, math.nan], "must be a finite number of at least 0 and below 1"),
        ("lora_alpha", [-1, 0, math.nan], "must be a finite number above 0"),
        ("learning_rate", [0, -1, math.nan, math.inf, "5e-5", True], "must be a finite number above 0"),
        ("save_minutes", [0, math.nan, "20"], "must be a finite number above 0, or None for never"),
        ("tf32", ["no", 2], "choose one of False, True"),
    ],
)
def test_a_value_out_of_range_is_named_at_once(name, values, message):
    for value in values:
        with pytest.raises(UserError, match=rf"^{name}=.* .*{message}"):
            TrainingSettings(**{name: value})


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_each_scheduler_trains_as_it_is(toy_model_dir, tmp_path, scheduler):
    settings = FAST | {"batch_size": 4, "warmup_steps": 1, "scheduler": scheduler}
    run = finetune(DS, toy_model_dir("llama"), tmp_path / "run", **settings).wait()
    assert run.history[-1]["loss"] < run.history[0]["loss"]

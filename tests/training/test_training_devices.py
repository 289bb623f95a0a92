"""A training runs on the device and in the number format that its settings name, and leaves none behind."""

import pytest
import torch
from gpus import A100, T4, pretend
from trainings import DS, FAST, fail_at

from workbench import cost
from workbench.core.errors import UserError
from workbench.cost import calibration
from workbench.lm import sharding
from workbench.study import launch
from workbench.study.recipe import Recipe
from workbench.training import TrainingSettings, finetune, loop
from workbench.training.quality import Quality


def arguments(tmp_path, device: str, **settings):
    return loop._arguments(tmp_path, TrainingSettings(device=device, **settings), device)


@pytest.fixture(autouse=True)
def _no_accelerator_stays():
    """accelerate keeps the device of the last training for the process."""
    from accelerate.state import AcceleratorState

    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_the_trainer_takes_the_named_gpu_and_no_other(monkeypatch, tmp_path, device):
    from accelerate import PartialState

    current = pretend(monkeypatch, A100, count=2)
    chosen = arguments(tmp_path, device)
    assert (str(chosen.device), chosen.n_gpu) == (device, 1)  # with more, the Trainer would copy the model
    assert str(PartialState().device) == str(current[-1]) == device


def test_a_training_on_the_cpu_ignores_gpus(monkeypatch, tmp_path):
    current = pretend(monkeypatch, A100, count=2)
    chosen = arguments(tmp_path, "cpu", dtype="float32")
    assert (str(chosen.device), chosen.n_gpu, current) == ("cpu", 0, [])


@pytest.mark.parametrize(
    ("card", "settings", "formats"),
    [
        (T4, {}, (True, False)),  # float16: the loss is scaled
        (T4, {"dtype": "float32"}, (False, False)),
        (A100, {}, (False, True)),
        (A100, {"dtype": "float16"}, (True, False)),
    ],
)
def test_each_card_trains_in_its_own_format(monkeypatch, tmp_path, card, settings, formats):
    pretend(monkeypatch, card)
    chosen = arguments(tmp_path, "cuda:0", **settings)
    assert (chosen.fp16, chosen.bf16) == formats


def test_a_calibration_belongs_to_the_format_of_the_training(monkeypatch, toy_model_dir):
    """On a T4 "auto" trains in float16, and its cost is not that of float32."""
    pretend(monkeypatch, T4)
    keys = {
        dtype: calibration._key(toy_model_dir("llama"), TrainingSettings(dtype=dtype, device="cuda"))
        for dtype in ("auto", "float16", "float32")
    }
    assert keys["auto"] == keys["float16"] != keys["float32"]
    assert cost.stored(toy_model_dir("llama"), device="cuda") is None


@pytest.mark.parametrize("fails", [False, True])
def test_tf32_is_on_in_the_run_and_off_after_it(monkeypatch, toy_model_dir, tmp_path, fails):
    matmul = torch.backends.cuda.matmul
    before, inside, arguments = matmul.fp32_precision, [], loop._arguments

    def recorded(*args):
        inside.append(matmul.fp32_precision)
        return arguments(*args)

    monkeypatch.setattr(loop, "_arguments", recorded)
    monkeypatch.setattr(loop, "has_tf32", lambda device: True)
    if fails:
        fail_at(1, monkeypatch)
    run = finetune(DS, toy_model_dir("llama"), tmp_path / "run", **FAST, tf32=True)
    while run.active:
        pass
    assert run.status == ("failed" if fails else "done")
    assert inside == ["tf32"]
    assert matmul.fp32_precision == before
    assert matmul.allow_tf32 is False


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_self_test_and_evaluation_compute_as_the_training_does(monkeypatch, toy_model_dir, tmp_path, dtype):
    formats, batch_mode, measure = [], loop.batch_mode, Quality.measure

    def autocast() -> torch.dtype:
        enabled = torch.is_autocast_enabled("cpu")
        return torch.get_autocast_dtype("cpu") if enabled else torch.float32

    def tested(*args, **kwargs):
        formats.append(autocast())
        return batch_mode(*args, **kwargs)

    def measured(*args):
        formats.append(autocast())
        return measure(*args)

    monkeypatch.setattr(loop, "batch_mode", tested)
    monkeypatch.setattr(Quality, "measure", measured)
    settings = FAST | {"dtype": dtype, "method": "full", "eval_steps": 100}
    run = finetune(DS, toy_model_dir("llama"), tmp_path / "run", heldout=DS, **settings).wait()
    assert formats == [getattr(torch, dtype)] * 2
    assert run.history[-1]["heldout_loss"] > 0


class TestTwoGpus:
    """One configuration shards the model, whether accelerate or the Trainer reads it."""

    def test_the_trainer_and_accelerate_shard_alike(self, monkeypatch, tmp_path):
        pretend(monkeypatch, A100, count=2)
        monkeypatch.setattr(sharding, "is_sharded", lambda device: True)
        chosen = arguments(tmp_path, "cuda:0").fsdp_plugin_args
        config = launch.accelerate_config(Recipe(gpus=2))
        assert config["distributed_type"] == "FSDP"
        assert config["fsdp_config"] == sharding.FSDP_CONFIG
        assert chosen["fsdp_version"] == config["fsdp_config"]["fsdp_version"] == 2
        for name in (
            "reshard_after_forward",
            "auto_wrap_policy",
            "state_dict_type",
            "cpu_ram_efficient_loading",
        ):
            assert chosen[name] == config["fsdp_config"][f"fsdp_{name}"]

    def test_one_process_does_not_shard(self, monkeypatch, tmp_path):
        pretend(monkeypatch, A100, count=2)
        assert arguments(tmp_path, "cuda:0").fsdp_plugin_args is None

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_gradients_add_up_in_float32(self, dtype):
        policy = sharding.mixed_precision(dtype)
        assert (policy.param_dtype, policy.reduce_dtype) == (getattr(torch, dtype), torch.float32)
        assert policy.output_dtype is None  # the loss stays float32
        assert sharding.mixed_precision("float32") is None

    @pytest.mark.parametrize(
        ("card", "dtype", "expected"),
        [(T4, "auto", "fp16"), (A100, "auto", "bf16"), (T4, "float32", "no"), (A100, "float16", "fp16")],
    )
    def test_accelerate_gets_the_format_of_the_training(self, monkeypatch, card, dtype, expected):
        pretend(monkeypatch, card, count=2)
        recipe = Recipe(gpus=2, training=TrainingSettings(dtype=dtype, device="cuda"))
        assert launch.accelerate_config(recipe)["mixed_precision"] == expected

    def test_without_a_gpu_here_the_processes_choose_the_format(self):
        assert launch.accelerate_config(Recipe(gpus=2))["mixed_precision"] == "no"

    def test_several_processes_cannot_share_one_named_gpu(self, tmp_path):
        recipe = Recipe(gpus=2, training=TrainingSettings(device="cuda:1"))
        with pytest.raises(UserError, match=r"device='cuda:1' names one GPU, and gpus=2 .*device='cuda'"):
            launch.prepare(recipe, tmp_path / "run", "rows.jsonl")

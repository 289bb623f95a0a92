"""The trained model: adapters, optimizers, gradient checkpointing, and hardware that is missing."""

import pytest
import torch
from conftest import table
from safetensors.torch import load_file

from workbench.core.errors import UserError
from workbench.lm import models
from workbench.lm.attention import packed_attention
from workbench.lm.batching import collate
from workbench.lm.packed import PackedLM
from workbench.lm.prompts import Sample
from workbench.training import TrainingSettings, finetune, trainable
from workbench.training.loop import train
from workbench.training.schedule import samples_of

DS = table(
    [f"Write number {i}, {'please ' * (i % 3)}now." for i in range(8)],
    [f"def f{i}():\n    return {' + '.join('abc'[: 1 + i % 3])}" for i in range(8)],
)
FAST = {"dtype": "float32", "device": "cpu", "max_length": 256, "learning_rate": 1e-2, "batch_size": 4}
SAMPLES = [[Sample(tuple(range(7, 40)), 9), Sample(tuple(range(90, 103)), 1)], [Sample((3, 1, 4, 1, 5), 2)]]


def gradients(model) -> dict[str, torch.Tensor]:
    """Return the gradients of the mean loss over packed samples, by parameter."""
    model.zero_grad()
    model.train()
    with packed_attention(model):
        PackedLM(model)(**collate(SAMPLES)).loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
def test_gradient_checkpointing_does_not_change_gradients(toy_model_dir, architecture):
    model, _ = models.load_model(toy_model_dir(architecture), "float32", "cpu")
    plain = gradients(model)
    trainable.recompute(model, everything=True)
    recomputed = gradients(model)
    assert any(gradient.abs().max() > 1e-3 for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_each_optimizer_trains_and_stores_its_own_state(toy_model_dir, tmp_path, optimizer):
    settings = TrainingSettings(**FAST, optimizer=optimizer, epochs=3)
    model, losses = str(toy_model_dir("llama")), []
    samples, _ = samples_of(DS, model, settings)
    train(
        model,
        samples,
        settings,
        tmp_path,
        on_record=lambda record: losses.append(record["loss"]),
        should_stop=lambda: len(losses) == 4,  # writes a checkpoint
    )
    assert losses[-1] < losses[0] - 0.1
    (last,) = (tmp_path / "checkpoints").glob("checkpoint-*")
    state = torch.load(last / "optimizer.pt")["state"]
    kept = {name for moments in state.values() for name in moments}
    assert ("exp_avg_sq_row" in kept) == (optimizer == "adafactor")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "qlora"}, "method='qlora' needs an NVIDIA GPU and this run is on 'cpu'; .*method='lora'"),
        ({"optimizer": "adamw-8bit"}, "optimizer='adamw-8bit' needs an NVIDIA GPU .*optimizer='adafactor'"),
        ({"optimizer": "paged-adamw-8bit"}, "optimizer='paged-adamw-8bit' needs an NVIDIA GPU"),
    ],
)
def test_settings_that_need_cuda_raise_before_anything_is_written(toy_model_dir, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        finetune(DS, toy_model_dir("llama"), tmp_path / "run", **FAST | settings)
    assert not (tmp_path / "run").exists()


def test_qlora_without_bitsandbytes_raises(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(trainable, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"method='qlora' needs the package bitsandbytes, .*pip install"):
        trainable.check_hardware(TrainingSettings(method="qlora", device="cuda"))


def test_an_adapter_cannot_be_merged_into_four_bit_weights(toy_model_dir, tmp_path):
    run = finetune(DS, toy_model_dir("llama"), tmp_path / "run", **FAST, method="lora").wait()
    with pytest.raises(UserError, match=r"is an adapter, which cannot be merged into 4-bit weights"):
        models.load_model(run.model_dir, "float32", "cpu", four_bit=True)


def test_an_adapter_covers_the_layers_of_the_paper(toy_model_dir, tmp_path):
    settings = FAST | {"method": "lora", "lora_r": 4}
    run = finetune(DS, toy_model_dir("llama"), tmp_path / "run", **settings).wait()
    weights = load_file(run.model_dir / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in weights} == set(trainable.LORA_TARGETS)
    assert {min(weight.shape) for weight in weights.values()} == {4}


@pytest.mark.parametrize("architecture", ["gpt_neox", "opt"])
def test_other_architectures_get_adapters_on_all_linear_layers(toy_model_dir, architecture):
    model, _ = models.load_model(toy_model_dir(architecture), "float32", "cpu")
    head = model.get_output_embeddings()
    linear = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head}
    adapted = trainable.with_adapter(model, "base", TrainingSettings(method="lora")).base_model.model
    assert {n for n, m in adapted.named_modules() if hasattr(m, "lora_A")} == linear

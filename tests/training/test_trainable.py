"""The trained model: adapters, optimizers, gradient checkpointing, and hardware that is missing."""

import pytest
import torch
from conftest import table
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

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


class TestExperts:
    """The experts of a mixture are one tensor per layer, in no linear layer."""

    @pytest.fixture(params=["mixtral", "qwen2_moe"])  # the second has a shared expert of linear layers
    def folder(self, request, toy_tokenizer, tmp_path):
        sizes = {"num_local_experts": 4} if request.param == "mixtral" else {"num_experts": 4}
        shapes = {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "initializer_range": 0.2,
        }
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
        if request.param == "qwen2_moe":
            sizes |= {"moe_intermediate_size": 24, "shared_expert_intermediate_size": 40}
        config = AutoConfig.for_model(
            request.param,
            **(shapes | heads | sizes),
            vocab_size=384,
            num_experts_per_tok=2,
            bos_token_id=None,
            eos_token_id=toy_tokenizer.eos_token_id,
            pad_token_id=toy_tokenizer.pad_token_id,
        )
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "moe")
        toy_tokenizer.save_pretrained(tmp_path / "moe")
        return tmp_path / "moe"

    def adapted(self, folder, dropout: float):
        model, _ = models.load_model(folder, "float32", "cpu")
        settings = TrainingSettings(method="lora", lora_dropout=dropout)
        return trainable.with_adapter(model, str(folder), settings)

    def test_with_dropout_only_linear_layers_are_adapted_which_is_said(self, folder):
        with pytest.warns(
            UserWarning, match=r"experts of \w+ get no adapters with lora_dropout=0.1.* q_proj"
        ):
            model = self.adapted(folder, 0.1)
        names = {name.split(".lora_A")[0].split(".")[-1] for name, _ in model.named_parameters()}
        assert names >= {"q_proj", "k_proj", "v_proj", "o_proj"}
        assert ("gate_proj" in names) == ("qwen2" in type(model.get_base_model()).__name__.lower())
        assert not any("experts.lora_A" in name for name, _ in model.named_parameters())

    def test_without_dropout_the_experts_are_adapted(self, folder):
        model = self.adapted(folder, 0.0)
        names = [name for name, _ in model.named_parameters() if "experts" in name and "lora_A" in name]
        assert len([name for name in names if "shared" not in name]) == 4  # two tensors in each of two layers

    @pytest.mark.parametrize("dropout", [0.0, 0.1])
    @pytest.mark.filterwarnings("ignore:the experts of:UserWarning")
    def test_a_tuned_mixture_loads_with_its_adapter_merged(self, folder, tmp_path, dropout):
        settings = FAST | {"method": "lora", "lora_dropout": dropout, "lora_r": 4, "strategy": "balanced"}
        run = finetune(DS, folder, tmp_path / "run", epochs=3, **settings).wait()
        assert run.history[-1]["loss"] < run.history[0]["loss"]
        ids = torch.arange(7, 60)[None]
        with torch.no_grad():
            merged = models.load_model(run.model_dir, "float32", "cpu")[0](input_ids=ids).logits
            wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), run.model_dir)
            torch.testing.assert_close(merged, wrapped.eval()(input_ids=ids).logits, atol=1e-4, rtol=1e-4)

"""A training that cannot fit is refused before it starts, with what would fit. GPUs are pretended."""

import psutil
import pytest
from conftest import table
from gpus import A100, T4, pretend

from workbench.core.errors import UserError
from workbench.lm import footprint
from workbench.lm.footprint import Footprint, refusal
from workbench.training import TrainingSettings, finetune, trainable

SMALL, PAPER = 135_000_000, 6_700_000_000
GIB = 2**30


def reason(n_weights: int, device: str = "cuda:0", **settings) -> str | None:
    defaults = {"method": "full", "optimizer": "adamw", "dtype": "bfloat16"}
    return refusal("a/model", Footprint(n_weights, **(defaults | settings)), device)


def test_a_weight_takes_sixteen_bytes_with_adamw_and_fewer_otherwise():
    sizes = [
        Footprint(10**9, method, optimizer, dtype, gpus).least_bytes / 10**9
        for method, optimizer, dtype, gpus in [
            *(("full", "adamw", "bfloat16", 1), ("full", "adafactor", "bfloat16", 1)),
            *(("full", "adamw-8bit", "bfloat16", 1), ("full", "adamw", "bfloat16", 8)),
            *(("lora", "adamw", "bfloat16", 1), ("lora", "adamw", "float32", 1)),
            ("qlora", "adamw", "bfloat16", 1),
        ]
    ]
    assert sizes == [16, 8, 10, 4, 2, 4, 0.5]  # with 8 GPUs, the whole weights are loaded before sharding


def test_a_t4_is_told_what_fits_it(monkeypatch):
    pretend(monkeypatch, T4)
    assert reason(SMALL) is None
    assert reason(PAPER, dtype="float16") == (
        "model='a/model' has 6.7 billion weights. method='full' with optimizer='adamw' needs at least 99.8 "
        "GiB for weights, gradients and optimizer state, and device='cuda:0' has 16.0 GiB; use method='lora' "
        "(12.5 GiB) or method='qlora' (3.1 GiB)."
    )
    assert reason(PAPER, method="lora", dtype="float32").endswith("; use method='qlora' (3.1 GiB).")
    assert reason(100 * PAPER, method="qlora").endswith("; use a smaller model.")


def test_an_a100_may_use_another_optimizer_or_a_second_gpu(monkeypatch):
    pretend(monkeypatch, A100)
    assert reason(PAPER, method="lora") is None
    assert reason(PAPER).endswith(
        "use optimizer='adafactor' (49.9 GiB), method='lora' (12.5 GiB), method='qlora' (3.1 GiB) or "
        "`workbench launch --gpus 2` (49.9 GiB)."
    )
    pretend(monkeypatch, A100, count=2)
    assert reason(PAPER, gpus=2) is None


def test_a_cpu_has_the_memory_of_the_machine(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"total": 32 * GIB}))
    assert reason(SMALL, "cpu", dtype="float32") is None
    assert "device='cpu' has 32.0 GiB; use method='lora' (25.0 GiB)." in reason(PAPER, "cpu", dtype="float32")


def test_weights_are_counted_in_the_files(toy_model_dir):
    from workbench.lm import models

    model, _ = models.load_model(toy_model_dir("llama"), "float32", "cpu")
    assert footprint.n_weights(toy_model_dir("llama")) == sum(weight.numel() for weight in model.parameters())


def test_a_run_that_cannot_fit_is_refused_before_anything_is_written(toy_model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(trainable, "n_weights", lambda name: PAPER)
    monkeypatch.setattr(footprint, "memory_of", lambda device: 32 * GIB)
    ds = table(["Add two numbers."], ["def add(a, b):\n    return a + b"])
    settings = {"method": "full", "device": "cpu", "dtype": "float32"}
    with pytest.raises(UserError, match=r"needs at least 99.8 GiB .* use method='lora' \(25.0 GiB\)"):
        finetune(ds, toy_model_dir("llama"), tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
    trainable.check_memory("a/model", TrainingSettings(method="lora", device="cpu", dtype="float32"))

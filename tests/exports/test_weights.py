"""Exported models: the dtype of the weights, and adapters that were trained on adapters."""

import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from trainings import DS, FAST

import workbench as wb
from workbench.lm import models


def test_an_export_keeps_the_dtype_of_the_base(toy_model_dir, tmp_path):
    base, tokenizer = models.load_model(toy_model_dir("llama"), "bfloat16", "cpu")
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    for method in ("lora", "full"):
        run = wb.finetune(DS, tmp_path / "base", tmp_path / method, **FAST, method=method).wait()
        for dtype in (None, "float32"):
            folder = wb.export(run, tmp_path / f"{method}-{dtype}", dtype=dtype)
            weights = load_file(folder / "model.safetensors").values()
            assert {weight.dtype for weight in weights} == {torch.float32 if dtype else torch.bfloat16}


def test_an_adapter_on_an_adapter_is_exported_with_its_merged_base(toy_model_dir, tmp_path):
    first = wb.finetune(DS, toy_model_dir("llama"), tmp_path / "first", **FAST, method="lora").wait()
    second = wb.finetune(DS, first.model_dir, tmp_path / "second", **FAST, method="lora").wait()
    wb.export(second, tmp_path / "adapter", format="adapter")
    ours, tokenizer = models.load_model(second.model_dir, "float32", "cpu")
    ids = tokenizer("def add(a, b):", return_tensors="pt").input_ids
    with_peft = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=torch.float32).eval()
    torch.testing.assert_close(with_peft(ids).logits, ours(ids).logits, rtol=1e-4, atol=1e-4)

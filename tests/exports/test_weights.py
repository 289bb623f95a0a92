"""Exported models: the dtype of the weights, and adapters that were trained on adapters."""

import pytest
import torch
from chats import CHAT, chat_model
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from trainings import DS, FAST
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList

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


@pytest.mark.parametrize(("template", "length"), [("chat", 4), ("deepseek", 20)])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_other_programs_stop_at_the_end_of_a_turn(
    toy_model_dir, toy_tokenizer, tmp_path, method, template, length
):
    base = chat_model(toy_model_dir("llama"), toy_tokenizer, tmp_path / "base")
    settings = FAST | {"method": method, "template": template}
    run = wb.finetune(DS, base, tmp_path / "run", **settings).wait()
    for folder in (wb.export(run, tmp_path / "merged"), *([run.model_dir] if method == "full" else [])):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        assert tokenizer.chat_template == CHAT
        end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        prompt = tokenizer("Add.", return_tensors="pt").input_ids

        def write(ids, scores, first=prompt.shape[1], end=end):
            """Make the fourth token the end of a turn, and every other one a blank."""
            chosen = end if ids.shape[1] == first + 3 else 222
            return torch.full_like(scores, -1e9).index_fill(1, torch.tensor([chosen]), 0.0)

        ids = model.generate(prompt, max_new_tokens=20, logits_processor=LogitsProcessorList([write]))
        assert ids.shape[1] - prompt.shape[1] == length
    ours, _ = models.load_model(run.model_dir, "float32", "cpu")
    assert ours.generation_config.eos_token_id == model.generation_config.eos_token_id

"""Adapters that other programs wrote: their base, and embeddings of another size."""

import json
import re
import shutil
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.core.errors import UserError
from workbench.lm import models


@pytest.fixture
def adapter(toy_model_dir, tmp_path):
    """Return a function that writes an adapter on the toy llama, and its folder."""

    def write(new_tokens: int = 0, **settings):
        base, folder = toy_model_dir("llama"), tmp_path / "adapter"
        model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
        if new_tokens:
            tokenizer.add_tokens([f"<tool {i}>" for i in range(new_tokens)])
            model.resize_token_embeddings(len(tokenizer))
        config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], **settings)
        adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
        adapted.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder, adapted

    return write


def named(folder, base):
    """Make the adapter in `folder` name `base`."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": base}))
    return folder


@pytest.mark.parametrize("settings", [{}, {"modules_to_save": ["embed_tokens", "lm_head"]}])
def test_an_adapter_brings_the_embeddings_of_new_tokens(adapter, settings):
    folder, adapted = adapter(3, **settings)
    model, tokenizer = models.load_model(folder, "float32", "cpu")
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    ids = tokenizer("def add <tool 2>", return_tensors="pt").input_ids
    torch.testing.assert_close(model(ids).logits, adapted.eval()(ids).logits)


def test_loading_an_adapter_shows_no_deprecation(adapter):
    folder, _ = adapter()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        models.load_model(folder, "float32", "cpu")


@pytest.mark.parametrize("base", [None, "", "/nowhere/base", "../nowhere"])
def test_a_base_that_is_gone_is_named(adapter, base):
    folder = named(adapter()[0], base)
    for use in (models.load_model, models.fingerprint, models.context_length):
        with pytest.raises(UserError, match=re.escape(f"base_model_name_or_path={base!r}")):
            use(folder)


def test_a_base_is_looked_up_beside_its_adapter(adapter, toy_model_dir):
    folder, _ = adapter()
    shutil.copytree(toy_model_dir("llama"), folder.parent / "base")
    assert models.load_model(named(folder, "../base"), "float32", "cpu")


def test_an_adapter_on_another_architecture_is_refused_in_one_sentence(adapter, toy_model_dir):
    folder = named(adapter()[0], str(toy_model_dir("gpt_neox")))
    with pytest.raises(UserError, match=r"the adapter in .* does not fit its base model .*; name the model"):
        models.load_model(folder, "float32", "cpu")

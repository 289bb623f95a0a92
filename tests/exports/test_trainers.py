"""Configs for other trainers express the same training in keys that those trainers have."""

import ast
import json
from dataclasses import replace

import datasets
import pytest
import yaml
from conftest import table
from jinja2 import Environment

import workbench as wb
from workbench.core import tables
from workbench.exports.trainers import translate
from workbench.lm import prompts
from workbench.study.presets import preset

PAIRS = [
    ("Sum  two\tnumbers.", "def add(a, b):\r\n    return a + b\n"),
    ("Quotes \" ' ` \\ and {{ braces }} {% if %}", "x = '\\n'"),
    (" leading and trailing ", "\n\n  spaces  \n"),
]

# Keys of trl 1.16, LLaMA-Factory 0.9.5 and Axolotl 0.19; check new ones against their source.
SHARED = {
    *("bf16", "fp16", "gradient_accumulation_steps", "learning_rate", "logging_steps"),
    *("output_dir", "seed", "warmup_steps", "weight_decay"),
}
TRL = SHARED | {
    *("lr_scheduler_type", "optim", "num_train_epochs", "per_device_train_batch_size", "max_length"),
    *("packing", "completion_only_loss", "gradient_checkpointing", "report_to", "tf32", "model_init_kwargs"),
}
LLAMA_FACTORY = SHARED | {
    *("model_name_or_path", "stage", "do_train", "finetuning_type", "dataset", "dataset_dir", "template"),
    *("default_system", "mask_history", "cutoff_len", "packing", "neat_packing", "flash_attn"),
    *("lr_scheduler_type", "optim", "num_train_epochs", "per_device_train_batch_size"),
    *("disable_gradient_checkpointing", "tf32", "report_to"),
}
AXOLOTL = SHARED | {
    *("base_model", "datasets", "chat_template", "chat_template_jinja", "sequence_len"),
    *("excess_length_strategy", "sample_packing", "attn_implementation", "lr_scheduler", "optimizer"),
    *("num_epochs", "micro_batch_size", "gradient_checkpointing", "tf32"),
}


@pytest.fixture(scope="module")
def rows() -> datasets.Dataset:
    """Twelve rows of 200 tokens on average."""
    ds = table([f"Write {i}." for i in range(12)], [f"x = {i}" for i in range(12)])
    return tables.with_columns(ds, {"n_tokens": [100] * 6 + [300] * 6}, {"n_tokens": tables.INT})


def trl_arguments(script: str, call: str) -> dict:
    """Keyword arguments of the call to `call` in `script`, as source."""
    (node,) = [
        node
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == call
    ]
    return {word.arg: ast.unparse(word.value) for word in node.keywords}


class TestTrainers:
    @pytest.fixture
    def configs(self, rows, tmp_path):
        """Export with changed training settings; returns the three configs and dataset_info.json."""

        def write(**training):
            paper = preset("paper-deepseek-oss")
            recipe = replace(paper, training=replace(paper.training, **training))
            folder = wb.export(rows, tmp_path / "out", recipe=recipe)
            self.folder = folder
            read = {path.name: path.read_text() for path in folder.iterdir()}
            return (
                read["trl_sft.py"],
                yaml.safe_load(read["llama_factory.yaml"]),
                yaml.safe_load(read["axolotl.yaml"]),
                json.loads(read["dataset_info.json"]),
            )

        return write

    def test_the_papers_training_in_all_three(self, configs):
        script, factory, axolotl, listed = configs()
        trl = trl_arguments(script, "SFTConfig")
        assert (set(trl), set(factory), set(axolotl)) == (TRL, LLAMA_FACTORY, AXOLOTL)
        assert float(trl["learning_rate"]) == factory["learning_rate"] == axolotl["learning_rate"] == 5e-5
        assert int(trl["num_train_epochs"]) == factory["num_train_epochs"] == axolotl["num_epochs"] == 3
        assert int(trl["max_length"]) == factory["cutoff_len"] == axolotl["sequence_len"] == 2048
        assert int(trl["warmup_steps"]) == factory["warmup_steps"] == axolotl["warmup_steps"] == 15
        # 16 samples of 200 tokens on average fill 1.6 rows of 2048.
        rows_a_batch = int(trl["per_device_train_batch_size"])
        assert rows_a_batch == factory["per_device_train_batch_size"] == axolotl["micro_batch_size"] == 2
        assert int(trl["gradient_accumulation_steps"]) == factory["gradient_accumulation_steps"] == 4
        assert trl["packing"] == "True"
        assert (factory["neat_packing"], axolotl["sample_packing"]) == (True, True)
        assert "flash_attention_2" in trl["model_init_kwargs"]
        assert (factory["flash_attn"], axolotl["attn_implementation"]) == ("fa2", "flash_attention_2")
        assert (factory["finetuning_type"], "adapter" in axolotl) == ("full", False)
        assert (factory["template"], axolotl["chat_template"]) == ("deepseekcoder", "jinja")
        assert "accelerate launch --num_processes 8 --use_fsdp" in script
        assert (self.folder / listed[factory["dataset"]]["file_name"]).is_file()
        assert (self.folder / axolotl["datasets"][0]["path"]).is_file()
        assert "'data.jsonl'" in str(ast.dump(ast.parse(script)))

    def test_adapters_and_no_packing(self, configs):
        script, factory, axolotl, _ = configs(method="lora", strategy="pad", lora_r=4, dtype="float32")
        lora = trl_arguments(script, "LoraConfig")
        assert (lora["r"], factory["lora_rank"], axolotl["lora_r"]) == ("4", 4, 4)
        assert (lora["lora_alpha"], factory["lora_alpha"], axolotl["lora_alpha"]) == ("16", 16, 16)
        assert factory["lora_target"].split(",") == axolotl["lora_target_modules"]
        assert (factory["per_device_train_batch_size"], axolotl["micro_batch_size"]) == (16, 16)
        assert (factory["packing"], axolotl["sample_packing"], axolotl["adapter"]) == (False, False, "lora")
        assert (factory["bf16"], axolotl["bf16"]) == (False, False)
        assert "flash_attention_2" not in script

    def test_qlora(self, configs):
        script, factory, axolotl, _ = configs(method="qlora")
        assert "bnb_4bit_quant_type='nf4'" in trl_arguments(script, "SFTConfig")["model_init_kwargs"]
        assert (factory["quantization_bit"], factory["double_quantization"]) == (4, True)
        assert (axolotl["adapter"], axolotl["load_in_4bit"]) == ("qlora", True)

    def test_the_tokenizers_own_template_is_not_written(self, configs):
        script, factory, axolotl, _ = configs(template="chat")
        assert "chat_template" not in script
        assert "template" not in factory
        assert axolotl["chat_template"] == "tokenizer_default"

    def test_all_answers_of_a_dialogue(self, configs):
        script, factory, axolotl, _ = configs(template="chat", train_on="all")
        trl = trl_arguments(script, "SFTConfig")
        assert (trl["assistant_only_loss"], "completion_only_loss" in trl) == ("True", False)
        assert "split_off_response" not in script
        assert factory["mask_history"] is False
        assert axolotl["datasets"][0]["roles_to_train"] == ["assistant"]
        assert "trains on the last one" not in (self.folder / "axolotl.yaml").read_text()

    @pytest.mark.parametrize("template", sorted(prompts.TEMPLATES))
    def test_the_chat_template_gives_our_training_text(self, template, toy_tokenizer, rows):
        paper = preset("paper-deepseek-oss")
        recipe = replace(paper, training=replace(paper.training, template=template))
        job = translate.job_of(rows, recipe, "data.jsonl")
        for instruction, response in PAIRS:
            (sample,) = prompts.training_samples(toy_tokenizer, [instruction], [response], template)
            messages = [{"role": "user", "content": instruction}, {"role": "assistant", "content": response}]
            text = Environment().from_string(job.chat_template).render(messages=messages, eos_token="<eos>")
            assert text == toy_tokenizer.decode(sample.input_ids)
            question = Environment().from_string(job.chat_template).render(messages=messages[:1])
            assert question == toy_tokenizer.decode(sample.input_ids[: sample.first_target])

    def test_a_batch_of_rows_is_never_empty(self, rows):
        paper = preset("paper-deepseek-oss")
        tiny = replace(paper, training=replace(paper.training, batch_size=1))
        assert translate.job_of(rows, tiny, "data.jsonl").batch_size == 1
        cut = replace(paper, training=replace(paper.training, max_length=100))
        assert translate.job_of(rows, cut, "data.jsonl").batch_size == 16

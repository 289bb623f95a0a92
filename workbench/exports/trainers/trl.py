"""TRL: a script with SFTTrainer, for trl 1.16 and transformers 5."""

import json

from .translate import Job

_SCRIPT = '''"""Fine-tuning with TRL; run it in this folder:

    {command}
"""

{imports}

tokenizer = AutoTokenizer.from_pretrained({model})
{template}
{split}
rows = load_dataset("json", data_files={file}, split="train")
trainer = SFTTrainer(
    model={model},
    processing_class=tokenizer,
    train_dataset={rows},
    args=SFTConfig(
{arguments}
    ),{adapter}
)
trainer.train()
trainer.save_model()
'''
_SPLIT = """
def split_off_response(row):
    # Loss on the last turn only.
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}

"""
_LAST_ANSWERS = "rows.map(split_off_response, remove_columns=rows.column_names)"
_DIALOGUES = 'rows.select_columns(["messages"])'
_SHARDED = "--use_fsdp --fsdp_version 2 --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP "


def files(job: Job) -> dict[str, str]:
    """Text of each file, by name."""
    adapted, four_bit = job.settings.method != "full", job.settings.method == "qlora"
    command = "python trl_sft.py"
    if job.gpus > 1:
        sharded = "" if adapted else _SHARDED
        command = f"accelerate launch --num_processes {job.gpus} {sharded}trl_sft.py"
    imports = [
        *(["import torch"] if four_bit else []),
        "from datasets import load_dataset",
        *(["from peft import LoraConfig"] if adapted else []),
        f"from transformers import AutoTokenizer{', BitsAndBytesConfig' if four_bit else ''}",
        "from trl import SFTConfig, SFTTrainer",
    ]
    template = f"tokenizer.chat_template = {_text(job.chat_template)}\n" if job.chat_template else ""
    arguments = "\n".join(f"        {name}={value}," for name, value in _arguments(job).items())
    adapter = f"\n    peft_config=LoraConfig(\n{_lora(job)}\n    )," if adapted else ""
    script = _SCRIPT.format(
        model=_text(job.model),
        file=_text(job.file),
        command=command,
        imports="\n".join(imports),
        template=template,
        split=_SPLIT if job.last_answer_only else "",
        rows=_LAST_ANSWERS if job.last_answer_only else _DIALOGUES,
        arguments=arguments,
        adapter=adapter,
    )
    return {"trl_sft.py": script}


def _arguments(job: Job) -> dict[str, str]:
    """Arguments of SFTConfig, as Python source."""
    values = {
        "output_dir": "trl",
        "max_length": job.settings.max_length,
        "packing": job.packed,
        "completion_only_loss" if job.last_answer_only else "assistant_only_loss": True,
        "gradient_checkpointing": job.settings.gradient_checkpointing,
        **job.trainer_arguments,
    }
    return {name: _text(value) for name, value in values.items()} | {"model_init_kwargs": _loading(job)}


def _loading(job: Job) -> str:
    """Arguments of `from_pretrained`, as Python source. Packing needs flash attention to isolate samples."""
    dtype = {"auto": "bfloat16"}.get(job.settings.dtype, job.settings.dtype)
    arguments = [f'"dtype": "{"float32" if job.settings.method == "full" else dtype}"']
    if job.packed:
        arguments.append('"attn_implementation": "flash_attention_2"')
    if job.settings.method == "qlora":
        arguments.append(
            '"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", '
            f"bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.{dtype})"
        )
    return "{" + ", ".join(arguments) + "}"


def _lora(job: Job) -> str:
    settings = job.settings
    values = {
        "task_type": "CAUSAL_LM",
        "r": settings.lora_r,
        "lora_alpha": settings.lora_alpha,
        "lora_dropout": settings.lora_dropout,
        "target_modules": job.lora_targets,
    }
    return "\n".join(f"        {name}={_text(value)}," for name, value in values.items())


def _text(value) -> str:
    """`value` as Python source, strings in double quotes."""
    return json.dumps(value) if isinstance(value, (str, list)) else repr(value)

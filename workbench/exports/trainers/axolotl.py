"""Axolotl: a YAML file for `axolotl train`, with the keys of version 0.19."""

from ...training.settings import OPTIMIZERS
from .translate import Job, as_yaml

_EVERY_ANSWER = "In a dialogue, Axolotl trains on every answer; the workbench trains on the last one."


def files(job: Job) -> dict[str, str]:
    """Text of each file, by name."""
    comments = [
        "Axolotl; run it in this folder: axolotl train axolotl.yaml",
        *([_EVERY_ANSWER] if job.last_answer_only else []),
        *job.notes,
    ]
    return {"axolotl.yaml": as_yaml(comments, _values(job))}


def _values(job: Job) -> dict:
    settings = job.settings
    rows = {
        "path": job.file,
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }
    values = {
        "base_model": job.model,
        "datasets": [rows],
        "chat_template": "jinja" if job.chat_template else "tokenizer_default",
        "chat_template_jinja": job.chat_template,
        "sequence_len": settings.max_length,
        "excess_length_strategy": "truncate",
        "sample_packing": job.packed,
        "attn_implementation": "flash_attention_2" if job.packed else None,
        "learning_rate": settings.learning_rate,
        "lr_scheduler": settings.scheduler,
        "warmup_steps": settings.warmup_steps,
        "weight_decay": settings.weight_decay,
        "optimizer": OPTIMIZERS[settings.optimizer],
        "num_epochs": settings.epochs,
        "micro_batch_size": job.batch_size,
        "gradient_accumulation_steps": settings.accumulation,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "bf16": job.bf16,
        "fp16": settings.dtype == "float16",
        "tf32": settings.tf32,
        "seed": settings.seed,
        "logging_steps": 1,
        "output_dir": "axolotl",
    }
    if settings.max_steps:
        values["max_steps"] = settings.max_steps
    if settings.method != "full":
        values |= {
            "adapter": settings.method,
            "load_in_4bit": settings.method == "qlora",
            "lora_r": settings.lora_r,
            "lora_alpha": settings.lora_alpha,
            "lora_dropout": settings.lora_dropout,
            "lora_target_modules": job.lora_targets,
        }
    return values

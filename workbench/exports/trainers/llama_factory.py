"""LLaMA-Factory: dataset_info.json and a YAML file for `llamafactory-cli train`, for version 0.9.5."""

import json

from .translate import Job, as_yaml

_NAME = "selection"
# Our template -> the closest of LLaMA-Factory's, and how it differs.
_TEMPLATES = {
    "deepseek": (
        "deepseekcoder",
        "ends a response with a line feed and <|EOT|>; the workbench ends it with EOS",
    ),
    "codellama": ("llama2", "gives the same text for single questions"),
}


def files(job: Job) -> dict[str, str]:
    """Text of each file, by name."""
    listed = {
        "file_name": job.file,
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
    comments = ["LLaMA-Factory; run it in this folder: llamafactory-cli train llama_factory.yaml"]
    template, difference = _TEMPLATES.get(job.settings.template, (None, ""))
    comments.append(
        f"Its template {template!r} {difference}." if template else "The template is the tokenizer's own."
    )
    comments += job.notes
    return {
        "dataset_info.json": json.dumps({_NAME: listed}, indent=2) + "\n",
        "llama_factory.yaml": as_yaml(comments, _values(job, template)),
    }


def _values(job: Job, template: str | None) -> dict:
    settings = job.settings
    values = {
        "model_name_or_path": job.model,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full" if settings.method == "full" else "lora",
        "dataset": _NAME,
        "dataset_dir": ".",
        "template": template,
        "default_system": "" if template else None,  # some templates have a default system message
        "mask_history": job.last_answer_only,  # loss on the last turn only
        "cutoff_len": settings.max_length,
        "packing": job.packed,
        "neat_packing": job.packed,  # packed samples do not attend to each other
        "flash_attn": "fa2" if job.packed else "auto",
        "disable_gradient_checkpointing": not settings.gradient_checkpointing,
        **job.trainer_arguments,
        "output_dir": "llama_factory",
    }
    if settings.method != "full":
        values |= {
            "lora_rank": settings.lora_r,
            "lora_alpha": settings.lora_alpha,
            "lora_dropout": settings.lora_dropout,
            "lora_target": ",".join(job.lora_targets),
        }
    if settings.method == "qlora":
        values |= {
            "quantization_method": "bnb",
            "quantization_bit": 4,
            "quantization_type": "nf4",
            "double_quantization": True,
        }
    return values

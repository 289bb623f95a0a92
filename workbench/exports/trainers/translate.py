"""The settings that all trainers' configs share."""

import json
from dataclasses import dataclass

import datasets
import numpy as np
import yaml

from ...core import tables
from ...lm import models
from ...lm.prompts import TEMPLATES
from ...packing import PACKERS
from ...study.recipe import Recipe
from ...training import TrainingSettings
from ...training.settings import OPTIMIZERS
from ...training.trainable import LORA_TARGETS

_UNPACKED = ("max", "pad")
assert set(_UNPACKED) < set(PACKERS)


@dataclass(frozen=True)
class Job:
    """One training run on `file`, in messages format. `batch_size` counts samples, or rows if `packed`."""

    model: str
    file: str
    settings: TrainingSettings
    gpus: int
    packed: bool
    batch_size: int

    @property
    def bf16(self) -> bool:
        """Whether to train in bfloat16; these trainers run on GPUs, where "auto" is bfloat16."""
        return self.settings.dtype in ("auto", "bfloat16")

    @property
    def last_answer_only(self) -> bool:
        """Whether the last answer of a dialogue is trained on, and not all of them."""
        return self.settings.train_on == "last" or self.chat_template is not None

    @property
    def trainer_arguments(self) -> dict:
        """Settings by their names in transformers' `TrainingArguments`, for the trainers that take those."""
        settings = self.settings
        values = {
            "learning_rate": settings.learning_rate,
            "lr_scheduler_type": settings.scheduler,
            "warmup_steps": settings.warmup_steps,
            "weight_decay": settings.weight_decay,
            "optim": OPTIMIZERS[settings.optimizer],
            "num_train_epochs": settings.epochs,
            "per_device_train_batch_size": self.batch_size,
            "gradient_accumulation_steps": settings.accumulation,
            "bf16": self.bf16,
            "fp16": settings.dtype == "float16",
            "seed": settings.seed,
            "logging_steps": 1,
            "report_to": "none",
        }
        if settings.max_steps:
            values["max_steps"] = settings.max_steps
        return values | ({"tf32": True} if settings.tf32 else {})

    @property
    def notes(self) -> list[str]:
        """Comments on what a config for one machine cannot express."""
        if self.gpus == 1:
            return []
        sharded = "" if self.settings.method != "full" else ", with its weights sharded (FSDP or DeepSpeed)"
        return [f"The batch size is meant for {self.gpus} GPUs{sharded}."]

    @property
    def lora_targets(self) -> list[str]:
        return list(LORA_TARGETS)

    @property
    def chat_template(self) -> str | None:
        """The training template in Jinja; None if it is the tokenizer's own."""
        template = TEMPLATES.get(self.settings.template)
        if template is None:
            return None
        before, after = map(json.dumps, template.split("{instruction}"))
        return (
            "{{ bos_token }}{% for message in messages %}"
            "{% if message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
            "{% else %}{{ " + f"{before} + message['content'] + {after}" + " }}{% endif %}{% endfor %}"
        )


def job_of(ds: datasets.Dataset, recipe: Recipe, file: str) -> Job:
    """`recipe`'s training on rows `ds`, for trainers that pack rows of `max_length` tokens.

    Their batch size counts packed rows, ours counts samples: a batch gets as many full rows as its samples
    would fill on average. Raises UserError if packing needs a column `n_tokens` that `ds` lacks.
    """
    settings = recipe.training
    packed = settings.strategy not in _UNPACKED
    batch_size = settings.batch_size
    if packed:
        tables.require(ds, ["n_tokens"], "wb.score")
        lengths = np.minimum(tables.array(ds, "n_tokens"), settings.max_length)
        batch_size = max(1, round(batch_size * float(np.nanmean(lengths)) / settings.max_length))
    return Job(models.public_name(recipe.model), file, settings, recipe.gpus, packed, batch_size)


def as_yaml(comments: list[str], values: dict) -> str:
    """A YAML file that starts with `comments`; values that are None keep the trainer's defaults."""
    settings = {name: value for name, value in values.items() if value is not None}
    head = "".join(f"# {line}\n" for line in comments)
    return head + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=1000)

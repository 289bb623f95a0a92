"""Configs with which other trainers repeat a recipe's training on the exported messages."""

from pathlib import Path

import datasets

from ...core.errors import UserError
from ...study.recipe import Recipe
from . import axolotl, llama_factory, trl
from .translate import job_of

FORMAT = "messages"  # the format that all of them read


def write(ds: datasets.Dataset, folder: Path, format: str, file: str, recipe: Recipe) -> None:
    """Write a config for each trainer: `recipe`'s model and training on `file`, to run in `folder`.

    Raises UserError unless `format` is "messages".
    """
    if format != FORMAT:
        raise UserError(
            f"format={format!r}: recipe= also writes configs for other trainers, which read {FORMAT!r}; "
            f"use that format, or omit recipe."
        )
    job = job_of(ds, recipe, file)
    for trainer in (trl, llama_factory, axolotl):
        for name, text in trainer.files(job).items():
            (folder / name).write_text(text, encoding="utf-8")

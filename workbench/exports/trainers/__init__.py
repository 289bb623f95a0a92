"""The same training with other trainers: configs that point at the exported messages."""

from pathlib import Path

import datasets

from ...core.errors import UserError
from ...study.recipe import Recipe
from . import axolotl, llama_factory, trl
from .translate import job_of

FORMAT = "messages"  # the one format that all of them read


def write(ds: datasets.Dataset, folder: Path, format: str, file: str, recipe: Recipe) -> None:
    """Write a config of each trainer for `recipe`'s model and training on `file`, to be run in `folder`."""
    if format != FORMAT:
        raise UserError(
            f"format={format!r}: recipe= also writes configs for other trainers, and these read {FORMAT!r}; "
            f"choose that, or leave recipe out."
        )
    job = job_of(ds, recipe, file)
    for trainer in (trl, llama_factory, axolotl):
        for name, text in trainer.files(job).items():
            (folder / name).write_text(text, encoding="utf-8")

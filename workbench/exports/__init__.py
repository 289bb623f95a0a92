"""Export for other tools: rows and models with a card, and configs for other trainers."""

from dataclasses import asdict
from pathlib import Path

import datasets

from ..core.errors import UserError, one_of
from ..core.folders import new_folder
from ..core.storage import RemotePath, as_path
from ..evaluation import EvalReport
from ..lm import models
from ..selection import Selection
from ..study.presets import recipe_of
from ..study.recipe import Recipe
from ..training import Run
from . import cards, rows, trainers, weights

__all__ = ["export"]


def export(
    what: Selection | datasets.Dataset | Run | str | Path,
    path: str | Path | RemotePath,
    format: str | None = None,
    *,
    recipe: Recipe | str | Path | None = None,
    reports: list[EvalReport] | tuple[EvalReport, ...] = (),
    dtype: str | None = None,
    storage_options: dict | None = None,
) -> Path | RemotePath:
    """Write rows or a fine-tuned model to a new folder, with a card, for other tools to load.

    The card (README.md) holds settings, score statistics, the reasons for dropped rows and a SHA-256 of the
    rows. A model's card repeats the hash of the rows that it was trained on.

    Args:
        what: a selection or a table of rows; or a run, or a run's folder.
        path: the folder to create; may exist if it is empty. Also a URL, e.g. "s3://bucket/folder".
        format: for rows, "messages" (JSON Lines, the default), "alpaca" or "sharegpt" (JSON), "parquet", or
            "dataset" (`datasets.save_to_disk`). `wb.load` reads each back with the same ids and texts.
            For a run, "merged" (the default), one model that `AutoModelForCausalLM` loads, or "adapter", for
            `PeftModel`.
        recipe: a `Recipe`, its file, or the name of a preset. Adds configs for TRL, LLaMA-Factory and Axolotl
            that train the recipe's model on the rows as it does; for format="messages".
        reports: evaluations to list on a model's card.
        dtype: of a merged model's weights, e.g. "bfloat16". By default, that of the base model's weights.
        storage_options: of a URL: arguments of its filesystem, as in `wb.load`.

    Returns:
        The folder.

    Raises:
        UserError: the folder is not empty, a parameter is unknown, there are no rows, or the run has no
            finished model. Nothing is left of an export that fails.

    Not covered: licences. The rows keep that of their source.
    """
    path = as_path(path, storage_options)
    if isinstance(what, (Selection, datasets.Dataset)):
        return _export_rows(what, path, format or "messages", recipe)
    if isinstance(what, (Run, str, Path)):
        folder = what.output_dir if isinstance(what, Run) else Path(what)
        return _export_model(folder, path, format or "merged", reports, dtype)
    raise UserError(
        f"what is a {type(what).__name__}; give a selection, a datasets.Dataset, a run or its folder."
    )


def _export_rows(what, path: Path | RemotePath, format: str, recipe) -> Path | RemotePath:
    one_of("format", format, rows.FILES)
    selection = what if isinstance(what, Selection) else None
    ds = selection.dataset if selection else what
    if not len(ds):
        raise UserError("what has no rows; give a selection or table with at least one.")
    recipe = None if recipe is None else recipe_of(recipe)
    file = rows.FILES[format]
    with new_folder(path) as folder:
        rows.write(ds, folder, format)
        if recipe:
            trainers.write(ds, folder, format, file, recipe)
        card = cards.dataset_card(ds, selection, format, file, asdict(recipe) if recipe else None)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return path


def _export_model(
    run: Path, path: Path | RemotePath, format: str, reports, dtype: str | None
) -> Path | RemotePath:
    state = weights.state_of(run)
    base = models.public_name(state["model"])
    with new_folder(path) as folder:
        weights.write(run, state, folder, path, format, dtype)
        card = cards.model_card(state, base, weights.history_of(run), format == "merged", reports)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return path

"""What other tools take up: the selection as a dataset with a card, the tuned model, configs for trainers."""

from dataclasses import asdict
from pathlib import Path

import datasets

from ..core.errors import UserError, one_of
from ..core.folders import new_folder
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
    path: str | Path,
    format: str | None = None,
    *,
    recipe: Recipe | str | Path | None = None,
    reports: list[EvalReport] | tuple[EvalReport, ...] = (),
    dtype: str = "float32",
) -> Path:
    """Write `what` into the new folder `path`, with a card (README.md); returns the folder.

    A selection or a table of rows: `format` is "messages" (JSON Lines, the default), "alpaca" or "sharegpt"
    (JSON), "parquet", or "dataset" (`datasets.save_to_disk`). `wb.load` reads each back with the same ids and
    texts. With `recipe` (a `Recipe`, its file, or the name of a preset) there are also configs for TRL,
    LLaMA-Factory and Axolotl that train as it does.

    A run, or the folder of one: `format` is "merged" (the default), one model of `dtype` that
    `AutoModelForCausalLM` loads, or "adapter", for `PeftModel`. Its card shows the scores of `reports`.

    A folder that is not empty is refused, and nothing is left of an export that failed.
    """
    if isinstance(what, (Selection, datasets.Dataset)):
        return _export_rows(what, Path(path), format or "messages", recipe)
    if isinstance(what, (Run, str, Path)):
        folder = what.output_dir if isinstance(what, Run) else Path(what)
        return _export_model(folder, Path(path), format or "merged", reports, dtype)
    raise UserError(
        f"what is of type {type(what).__name__}; give a selection, a datasets.Dataset, a run or its folder."
    )


def _export_rows(what, path: Path, format: str, recipe) -> Path:
    one_of("format", format, rows.FILES)
    selection = what if isinstance(what, Selection) else None
    ds = selection.dataset if selection else what
    if not len(ds):
        raise UserError("what holds no rows; nothing would be written.")
    recipe = None if recipe is None else recipe_of(recipe)
    file = rows.FILES[format]
    with new_folder(path) as folder:
        rows.write(ds, folder, format)
        if recipe:
            trainers.write(ds, folder, format, file, recipe)
        card = cards.dataset_card(ds, selection, format, file, asdict(recipe) if recipe else None)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return path


def _export_model(run: Path, path: Path, format: str, reports, dtype: str) -> Path:
    state = weights.state_of(run)
    base = models.public_name(state["model"])
    with new_folder(path) as folder:
        weights.write(run, state, folder, format, dtype)
        card = cards.model_card(state, base, weights.history_of(run), format == "merged", reports)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return path

"""Write a run's model to a folder that transformers or peft loads."""

import json
import shutil
from pathlib import Path

import torch

from ..core.errors import MissingFileError, UserError, one_of
from ..core.storage import RemotePath
from ..lm import models
from ..lm.adapters import base_of
from ..lm.devices import DTYPES, dtype_name
from ..training.folder import History, RunFolder

FORMATS = ("merged", "adapter")


def state_of(run: Path) -> dict:
    """The contents of run.json in folder `run`.

    Raises MissingFileError if there is none, and UserError if the run has not finished with a model.
    """
    folder = RunFolder(run)
    if not folder.state_file.is_file():
        raise MissingFileError(f"{run} has no run.json; give a run, or the output_dir of one.")
    state = folder.read()
    if state["status"] not in ("done", "stopped"):
        raise UserError(
            f"the run in {run} is {state['status']}; only one that is done or stopped has a model."
        )
    return state


def history_of(run: Path) -> list[dict]:
    """The history of the run in folder `run`, one entry per optimizer step."""
    return History(RunFolder(run).history_file).read()


def write(
    run: Path, state: dict, folder: Path, path: Path | RemotePath, format: str, dtype: str | None
) -> None:
    """Write the model of `run` to `folder`, which is renamed to `path` afterwards.

    "merged" gives one model in `dtype` (None for that of the base), "adapter" the adapter unchanged. An
    adapter that was trained on another adapter comes with its base, merged, in `folder/base`.
    """
    one_of("format", format, FORMATS)
    if format == "merged":
        _write_merged(run / "model", state["model"], folder, dtype)
        return
    if state["settings"]["method"] == "full":
        raise UserError("format='adapter': the run trained all weights, not an adapter; use format='merged'.")
    for part in (run / "model").iterdir():
        if part.suffix in (".json", ".safetensors", ".jinja", ".txt", ".model"):
            shutil.copy2(part, folder)
    base = base_of(run / "model")
    on_disk = models.on_disk(base)
    if on_disk and base_of(on_disk):
        _write_merged(base, base, folder / "base", dtype)
        config = folder / "adapter_config.json"
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings["base_model_name_or_path"] = str(path.resolve() / "base")
        config.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _write_merged(model: str | Path, base: str, folder: Path, dtype: str | None) -> None:
    """Write `model` to `folder`. Adapters are merged in float32, and the sum is rounded to `dtype` once."""
    if dtype is None:
        dtype = models.stored_dtype(base if models.on_disk(base) else model)
    one_of("dtype", dtype, DTYPES)
    with models.quiet():
        loaded, tokenizer = models.load_model(model, "float32", "cpu")
        loaded.to(getattr(torch, dtype_name(dtype, "cpu"))).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

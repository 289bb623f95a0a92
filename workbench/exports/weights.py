"""Write a run's model to a folder that transformers or peft loads."""

import shutil
from pathlib import Path

from ..core.errors import MissingFileError, UserError, one_of
from ..lm import models
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


def write(run: Path, state: dict, folder: Path, format: str, dtype: str) -> None:
    """Write the model of `run` to `folder`: merged into one model in `dtype`, or the adapter unchanged."""
    one_of("format", format, FORMATS)
    if format == "merged":
        with models.quiet():
            model, tokenizer = models.load_model(run / "model", dtype, "cpu")
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return
    if state["settings"]["method"] == "full":
        raise UserError("format='adapter': the run trained all weights, not an adapter; use format='merged'.")
    for path in (run / "model").iterdir():
        if path.suffix in (".json", ".safetensors", ".jinja", ".txt", ".model"):
            shutil.copy2(path, folder)

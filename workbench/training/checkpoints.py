"""Checkpoints and the tuned model, as files that a crash cannot spoil.

A checkpoint counts only once it is sealed, with all its bytes on disk.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ..lm import models

_SEAL = "complete.json"  # file -> bytes; written last


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done in `checkpoint`, a folder that the Trainer named."""
    return int(checkpoint.name.rpartition("-")[2])


def seal(checkpoint: Path) -> None:
    """Declare `checkpoint` complete; only then remove the others beside it."""
    flush(checkpoint)
    replace(checkpoint / _SEAL, json.dumps(_sizes(checkpoint)))
    flush(checkpoint.parent)
    for other in _all(checkpoint.parent):
        if other != checkpoint:
            shutil.rmtree(other, ignore_errors=True)  # what is left of it counts as incomplete


def newest(folder: Path) -> Path | None:
    """The complete checkpoint in `folder` with the most steps."""
    complete = [checkpoint for checkpoint in _all(folder) if not _flaw(checkpoint)]
    return max(complete, key=step_of, default=None)


def discard_incomplete(folder: Path, say: Callable[[str], None]) -> None:
    """Remove what nothing can be resumed from, saying why, and give its room on the disk back."""
    for checkpoint in _all(folder):
        if flaw := _flaw(checkpoint):
            say(f"{checkpoint.name} cannot be used: {flaw}")
            shutil.rmtree(checkpoint, ignore_errors=True)


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"))


def _sizes(checkpoint: Path) -> dict[str, int]:
    return {
        str(path.relative_to(checkpoint)): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != _SEAL
    }


def _flaw(checkpoint: Path) -> str | None:
    """Why `checkpoint` is incomplete, if it is."""
    try:
        wanted = json.loads((checkpoint / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "it was not written to its end"
    found = _sizes(checkpoint)
    for name, size in wanted.items():
        if found.get(name) != size:
            return f"{name} has {found.get(name, 0):,} of {size:,} bytes"
    return None


def save_model(trainer, tokenizer, folder: Path) -> None:
    """Write the result to `folder`, which never holds half of it."""
    fresh = folder.with_name(folder.name + ".new")
    try:
        with models.quiet():
            state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # its shards put together
            if not trainer.is_world_process_zero():
                return
            trainer.model.save_pretrained(fresh, state_dict=state)
            tokenizer.save_pretrained(fresh)
        flush(fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # a full disk needs the room
        raise
    if folder.exists():  # of a stop before
        shutil.rmtree(folder)
    fresh.rename(folder)


def flush(path: Path) -> None:
    """Return when the file `path`, or the folder with all its files, is on disk and not only on its way."""
    for part in [*path.rglob("*"), path] if path.is_dir() else [path]:
        if part.is_dir() and os.name == "nt":
            continue  # Windows opens no folders
        handle = os.open(part, os.O_RDONLY if part.is_dir() else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def replace(path: Path, text: str) -> None:
    """Give the file `path` a new content: all of it, or, if anything fails, none."""
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise

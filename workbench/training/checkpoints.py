"""Crash-safe files: checkpoints, the trained model, and small text files.

A checkpoint counts only once it is sealed, which happens after all of its bytes are on disk.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ..core.folders import new_content
from ..lm import models
from . import trainable

_SEAL = "complete.json"  # file name -> size in bytes; written last


def step_of(checkpoint: Path) -> int:
    """Return the number of optimizer steps done in `checkpoint`, a folder named by the Trainer."""
    return int(checkpoint.name.rpartition("-")[2])


def seal(checkpoint: Path) -> None:
    """Mark `checkpoint` as complete, then remove the other checkpoints beside it."""
    flush(checkpoint)
    replace(checkpoint / _SEAL, json.dumps(_sizes(checkpoint)))
    flush(checkpoint.parent)
    for other in _all(checkpoint.parent):
        if other != checkpoint:
            shutil.rmtree(other, ignore_errors=True)  # a partly removed checkpoint counts as incomplete


def newest(folder: Path) -> Path | None:
    """Return the complete checkpoint in `folder` with the most steps, or None."""
    complete = [checkpoint for checkpoint in _all(folder) if not _defect(checkpoint)]
    return max(complete, key=step_of, default=None)


def discard_incomplete(folder: Path, log: Callable[[str], None]) -> None:
    """Remove checkpoints that a run cannot resume from, which frees their disk space, and log why."""
    for checkpoint in _all(folder):
        if defect := _defect(checkpoint):
            log(f"{checkpoint.name} cannot be used: {defect}")
            shutil.rmtree(checkpoint, ignore_errors=True)


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"))


def _sizes(checkpoint: Path) -> dict[str, int]:
    return {
        str(path.relative_to(checkpoint)): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != _SEAL
    }


def _defect(checkpoint: Path) -> str | None:
    """Return why `checkpoint` is incomplete, or None if it is complete."""
    try:
        expected = json.loads((checkpoint / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "it was not written completely"
    sizes = _sizes(checkpoint)
    for name, size in expected.items():
        if sizes.get(name) != size:
            return f"{name} has {sizes.get(name, 0):,} of {size:,} bytes"
    return None


def save_model(trainer, tokenizer, folder: Path) -> None:
    """Write the trained weights (or adapter) and the tokenizer to `folder`, all of them or nothing.

    Every process of a distributed training calls this; the first one gathers the shards and writes.
    """
    scratch = folder.with_name(folder.name + ".new")
    try:
        with models.quiet():
            writes = trainer.is_world_process_zero()
            trainable.save(trainer.model.lm, scratch, writes)
            if not writes:
                return
            tokenizer.save_pretrained(scratch)
        flush(scratch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)  # frees the space if the disk is full
        raise
    if folder.exists():  # the model of an earlier stop
        shutil.rmtree(folder)
    scratch.rename(folder)


def flush(path: Path) -> None:
    """Return once the file `path`, or the folder `path` with all of its files, is physically on disk."""
    for part in [*path.rglob("*"), path] if path.is_dir() else [path]:
        if part.is_dir() and os.name == "nt":
            continue  # Windows cannot open folders
        handle = os.open(part, os.O_RDONLY if part.is_dir() else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def replace(path: Path, text: str) -> None:
    """Replace the content of the file `path` atomically: if this fails, the old content stays."""
    with new_content(path) as scratch:
        scratch.write_text(text, encoding="utf-8")

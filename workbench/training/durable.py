"""Files that are on disk when a function says so, also if the machine stops the moment after."""

import os
from pathlib import Path


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

"""Create folders and files atomically: complete or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `path` on success and deleted on failure.

    Raises UserError if `path` is a file or a folder that is not empty.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        problem = "is not empty" if path.is_dir() else "is a file"
        raise UserError(f"path={str(path)!r} {problem}; nothing is overwritten: give a new folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        scratch.chmod(0o755)  # mkdtemp creates it with 0o700
        yield scratch
        if path.exists():
            path.rmdir()
        scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def new_content(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces it on success and is deleted on failure.

    A failure leaves the old content of `path` unchanged. A link keeps pointing to its file, which is
    replaced. What is not a regular file, e.g. a pipe or `/dev/stdout`, is yielded itself.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    scratch = path.with_name(f".{path.name}-{os.getpid()}.new")
    try:
        yield scratch
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)

"""Create folders and files atomically: complete or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError
from .storage import RemotePath, as_path


@contextmanager
def new_folder(path: str | Path | RemotePath) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `path` on success and deleted on failure.

    If `path` is a URL, the temporary folder is local and uploaded to it.

    Raises UserError if `path` is a file or a folder that is not empty.
    """
    path = as_path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        problem = "is not empty" if path.is_dir() else "is a file"
        raise UserError(f"path={str(path)!r} {problem}; nothing is overwritten: give a new folder.")
    if isinstance(path, RemotePath):
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
            _upload(Path(scratch), path)
        return
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


def _upload(folder: Path, path: RemotePath) -> None:
    """Upload `folder` to `path`, which is empty, or leave it empty."""
    try:
        path.upload(folder)
    except BaseException:
        with suppress(UserError):
            path.remove()
        raise


@contextmanager
def new_content(path: str | Path | RemotePath) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces it on success and is deleted on failure.

    If `path` is a URL, the temporary file is a local one of the same name, which is then uploaded.

    A failure leaves the old content of `path` unchanged. A link keeps pointing to its file, which is
    replaced. What is not a regular file, e.g. a pipe or `/dev/stdout`, is yielded itself.
    """
    path = as_path(path)
    if isinstance(path, RemotePath):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / path.name
            path.upload(Path(folder) / path.name)
        return
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

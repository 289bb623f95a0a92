"""A new folder that is there whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A scratch folder that becomes `path` when the block ends well, and is gone when it does not."""
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        what = "is not empty" if path.is_dir() else "is a file"
        raise UserError(f"path={str(path)!r} {what}; nothing is overwritten: give a new folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        scratch.chmod(0o755)  # mkdtemp makes it private
        yield scratch
        if path.exists():
            path.rmdir()
        scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

"""Locate EvalPlus: the installed package, or its wheel alone in the cache, pinned by hash.

As a requirement, EvalPlus would install 800 MB of API clients. The extra `[eval]` has the few packages that
judging needs. Only worker processes import EvalPlus (`rules`).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ...core import progress
from ...core.errors import UserError
from ...core.store import cache_dir

VERSION = "0.3.1"
_SHA256 = "cd601debb67419113d10ac5c3317689d847f27de5d8cf3837975f3cab571b75d"
_NEEDS = ("appdirs", "tempdir", "termcolor", "tree_sitter", "tree_sitter_python", "wget")


def python_path(*first: Path) -> str:
    """A PYTHONPATH for a new process: `first`, EvalPlus, then this process's own PYTHONPATH.

    Raises UserError if packages of the extra `[eval]` are missing or EvalPlus cannot be fetched.
    """
    missing = [name.replace("_", "-") for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise UserError(
            f"judging by EvalPlus's rules needs {', '.join(missing)}; "
            'install them with pip install "codetune-workbench[eval]".'
        )
    paths = [*map(str, first), *search_path(), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, paths))


def search_path() -> list[str]:
    """Folders to add to `sys.path` to import EvalPlus; empty if it is installed. Fetches it if needed."""
    try:
        if version("evalplus") == VERSION:
            return []
    except PackageNotFoundError:
        pass
    folder = cache_dir() / f"evalplus-{VERSION}"
    if not folder.exists():
        _fetch(folder)
    return [str(folder)]


def _fetch(folder: Path) -> None:
    progress.say(f"Fetching EvalPlus {VERSION} (its 70 kB wheel, without its requirements) ...")
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        requirement = Path(work) / "requirement.txt"
        requirement.write_text(f"evalplus=={VERSION} --hash=sha256:{_SHA256}\n")
        target = Path(work) / "evalplus"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*pip, "--require-hashes", "--target", str(target), "-r", str(requirement)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(
                f"EvalPlus {VERSION} could not be fetched from the package index ({last}); "
                f"install it with pip install --no-deps evalplus=={VERSION}."
            )
        if not folder.exists():  # another process may have fetched it meanwhile
            shutil.move(target, folder)

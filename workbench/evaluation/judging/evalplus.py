"""Where EvalPlus is: installed, or its own wheel alone, pinned by hash, in the cache.

As a requirement it would bring the clients of every model vendor, 800 MB; what judging needs of these is the
extra `[eval]`. Its code is imported by the judge's process only (`rules`).
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
    """A PYTHONPATH by which a fresh process finds `first`, EvalPlus, and what this process was given."""
    missing = [name.replace("_", "-") for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise UserError(
            f"judging by EvalPlus's rules needs {', '.join(missing)}; "
            'install them with pip install "codetune-workbench[eval]".'
        )
    places = [*map(str, first), *home(), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, places))


def home() -> list[str]:
    """The places to import from by which EvalPlus is found, beside those of this process."""
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
        wanted = Path(work) / "requirement.txt"
        wanted.write_text(f"evalplus=={VERSION} --hash=sha256:{_SHA256}\n")
        target = Path(work) / "evalplus"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:"]
        made = subprocess.run(
            [*pip, "--require-hashes", "--target", str(target), "-r", str(wanted)],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            last = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(
                f"EvalPlus {VERSION} could not be fetched from the package index ({last}); "
                f"install it with pip install --no-deps evalplus=={VERSION}."
            )
        if not folder.exists():  # another process may have been faster
            shutil.move(target, folder)

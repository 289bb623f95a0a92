"""Progress bars that read well in a terminal, in a notebook and in a log file."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

_here = threading.local()


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def _stream():
    """Standard output in a notebook, because Jupyter paints standard error red; else standard error."""
    return sys.stdout if in_notebook() else sys.stderr


@contextmanager
def silent() -> Iterator[None]:
    """Within this context nothing is shown from this thread: somebody else tells of the whole."""
    before, _here.silent = getattr(_here, "silent", False), True
    try:
        yield
    finally:
        _here.silent = before


def _is_silent() -> bool:
    return bool(os.environ.get("WORKBENCH_QUIET")) or getattr(_here, "silent", False)


def say(text: str) -> None:
    """Announce something that takes a while."""
    if not _is_silent():
        print(text, file=_stream(), flush=True)


class _Bar(tqdm):
    """Tells no rate within its first second: what is read from the store has none worth telling."""

    @staticmethod
    def format_meter(n, total, elapsed, *args, **more):
        if elapsed < 1:
            more["bar_format"] = "{l_bar}{bar}| {n_fmt}/{total_fmt}{postfix}"
        return tqdm.format_meter(n, total, elapsed, *args, **more)


def bar(total: int, what: str, unit: str = "row") -> tqdm:
    """A bar of `total` units with rate and time left.

    Plain text, also in notebooks: a widget bar would be saved as a broken model. Logs that are no terminal
    get a line now and then.
    """
    notebook, stream = in_notebook(), _stream()
    interval = 0.5 if notebook or stream.isatty() else 20.0
    return _Bar(
        total=total,
        desc=what,
        unit=f" {unit}s",
        file=stream,
        mininterval=interval,
        dynamic_ncols=not notebook,
        ncols=100 if notebook else None,
        disable=_is_silent(),
    )

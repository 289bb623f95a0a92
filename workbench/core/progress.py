"""Progress bars and messages for terminals, notebooks and log files."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

_thread = threading.local()


def in_notebook() -> bool:
    """Return whether this process is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def _stream():
    """Standard output in a notebook, because Jupyter shows standard error on red; else standard error."""
    return sys.stdout if in_notebook() else sys.stderr


@contextmanager
def silent() -> Iterator[None]:
    """Context in which this thread shows no bars or messages, e.g. because its caller shows its own."""
    before, _thread.silent = getattr(_thread, "silent", False), True
    try:
        yield
    finally:
        _thread.silent = before


def _is_silent() -> bool:
    return bool(os.environ.get("WORKBENCH_QUIET")) or getattr(_thread, "silent", False)


def say(text: str) -> None:
    """Print a message, e.g. before a step that takes long. Silenced as bars are."""
    if not _is_silent():
        print(text, file=_stream(), flush=True)


class _Bar(tqdm):
    """Shows no rate during its first second: the rate of cached results would be misleading."""

    @staticmethod
    def format_meter(n, total, elapsed, *args, **more):
        if elapsed < 1:
            more["bar_format"] = "{l_bar}{bar}| {n_fmt}/{total_fmt}{postfix}"
        return tqdm.format_meter(n, total, elapsed, *args, **more)


def bar(total: int | None, label: str, unit: str = "row") -> tqdm:
    """Return a progress bar over `total` units (None: not known yet) that shows the rate and the time left.

    The bar is plain text in notebooks too, because a saved notebook shows a widget as an error. It updates
    every 0.5 seconds in a terminal or notebook, and every 20 seconds in a log file. `$WORKBENCH_QUIET` and
    `silent` disable it.
    """
    notebook, stream = in_notebook(), _stream()
    interval = 0.5 if notebook or stream.isatty() else 20.0
    return _Bar(
        total=total,
        desc=label,
        unit=f" {unit}s",
        file=stream,
        mininterval=interval,
        dynamic_ncols=not notebook,
        ncols=100 if notebook else None,
        disable=_is_silent(),
    )

"""Progress bars that read well in a terminal, in a notebook and in a log file."""

import os
import sys

from tqdm import tqdm


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def bar(total: int, what: str, unit: str = "row") -> tqdm:
    """A bar of `total` units with rate and time left.

    Plain text, also in notebooks: a widget bar would be saved as a broken model. Notebooks get it on standard
    output, because Jupyter paints standard error red; logs that are no terminal get a line now and then.
    """
    notebook = in_notebook()
    stream = sys.stdout if notebook else sys.stderr
    interval = 0.5 if notebook or stream.isatty() else 20.0
    return tqdm(
        total=total,
        desc=what,
        unit=f" {unit}s",
        file=stream,
        mininterval=interval,
        dynamic_ncols=not notebook,
        ncols=100 if notebook else None,
        disable=bool(os.environ.get("WORKBENCH_QUIET")),
    )

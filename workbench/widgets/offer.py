"""A table that has no scores yet: the dashboard offers to make what is missing."""

import asyncio
import time
from collections.abc import Callable
from html import escape

import datasets
import ipywidgets as w
import torch

from .. import complexity
from ..core import tables
from ..space import clustering, embedding, projection
from .tasks import ErrorPanel

_CHARACTERS = 3.5  # of code and English a token
_PASSES = 2  # the response alone, and after its instruction
_SHARE = 0.5  # of the machine's rate of matrix products that scoring reaches
_PARAMETERS = 134.5e6  # of smollm2-135m
_SIDE = 1024
STAGES = {
    "score": (("ifd", "n_tokens"), "scores"),
    "embed": (("embedding",), "embeddings"),
    "cluster": (("cluster",), "clusters"),
    "project": (("x", "y"), "map"),
}


def missing(ds: datasets.Dataset) -> list[str]:
    """The stages whose columns `ds` lacks, in order; embeddings only where a later stage needs them."""
    found = [name for name, (columns, _) in STAGES.items() if not set(columns) <= set(ds.column_names)]
    return [name for name in found if name != "embed" or {"cluster", "project"} & set(found)]


class Offer(w.VBox):
    """A button that runs the missing stages and hands the finished table to `done`; `line` says how it goes.

    The work is done in a thread, so that the notebook stays usable; what is scored is stored as it comes.
    """

    def __init__(
        self, ds: datasets.Dataset, model: str, errors: ErrorPanel, done: Callable[[datasets.Dataset], None]
    ):
        tables.require(ds, ["instruction", "response"], "wb.load")
        self.ds, self._model, self._errors, self._done = ds, model, errors, done
        self.stages = missing(ds)
        self.button = w.Button(description=f"Compute {self._named()}", button_style="primary", icon="play")
        self.button.layout.width = "auto"
        self.button.on_click(errors.guard(self._start))
        self.line = w.HTML(f"<span>{escape(self._told())}</span>")
        super().__init__([self.line, self.button])
        self.add_class("workbench-offer")

    def _named(self) -> str:
        return ", ".join(STAGES[name][1] for name in self.stages)

    def _told(self) -> str:
        told = f"These {len(self.ds):,} rows have no {self._named()} yet."
        if "score" in self.stages:
            told += (
                f" Scoring takes about {_in_words(scoring_seconds(self.ds))} here with a model of 135 M "
                "parameters, in proportion with another; what was scored before is read from the store."
            )
        return told

    def _start(self, button) -> None:
        self.button.disabled = True
        self._errors.start(self._in_background())

    async def _in_background(self) -> None:
        try:
            for name in self.stages:
                self.line.value = f'<span role="status">making {STAGES[name][1]} ...</span>'
                await asyncio.to_thread(self._run, name)
            self._done(self.ds)
        finally:
            self.button.disabled = False

    def _run(self, name: str) -> None:
        work = {
            "score": lambda: complexity.score(self.ds, self._model),
            "embed": lambda: embedding.embed(self.ds),
            "cluster": lambda: clustering.cluster(self.ds, min(10, len(self.ds))),
            "project": lambda: projection.project(self.ds),
        }
        self.ds = work[name]()


def scoring_seconds(ds: datasets.Dataset) -> float:
    """What scoring all of `ds` takes on this machine with a model of 135 M parameters, roughly.

    2 x parameters x tokens, over half of what a matrix product reaches; tokens are guessed from characters.
    """
    characters = sum(len(text or "") for name in ("instruction", "response") for text in ds[name])
    a = torch.rand(_SIDE, _SIDE)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        a @ a
        took.append(time.perf_counter() - start)
    rate = 2 * _SIDE**3 / min(took)
    return _PASSES * 2 * _PARAMETERS * characters / _CHARACTERS / (_SHARE * rate)


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

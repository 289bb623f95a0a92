"""Shown for a table without scores, clusters or map: a button that computes them."""

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
from .markup import status
from .tasks import ErrorPanel

_CHARACTERS = 3.5  # per token, for code and English
_PASSES = 2  # the response alone, and after its instruction
_EFFICIENCY = 0.5  # of the machine's matrix product rate that scoring reaches
_PARAMETERS = 134.5e6  # of smollm2-135m
_SIDE = 1024  # of the square matrices that are multiplied
STAGES = {
    "score": (("ifd", "n_tokens"), "scores"),
    "embed": (("embedding",), "embeddings"),
    "cluster": (("cluster",), "clusters"),
    "project": (("x", "y"), "map"),
}


def missing(ds: datasets.Dataset) -> list[str]:
    """The stages whose columns `ds` lacks, in order; embeddings only if a later stage needs them."""
    stages = [name for name, (columns, _) in STAGES.items() if not set(columns) <= set(ds.column_names)]
    return [name for name in stages if name != "embed" or {"cluster", "project"} & set(stages)]


class Offer(w.VBox):
    """A button that runs the missing stages and calls `on_done` with the finished table.

    The stages run in a thread, so the notebook stays usable, and scores are stored as they are computed.
    `line` shows the progress. Raises UserError if `ds` lacks `instruction` or `response`.
    """

    def __init__(
        self,
        ds: datasets.Dataset,
        model: str,
        errors: ErrorPanel,
        on_done: Callable[[datasets.Dataset], None],
    ):
        tables.require(ds, ["instruction", "response"], "wb.load")
        self.ds, self._model, self._errors, self._on_done = ds, model, errors, on_done
        self.stages = missing(ds)
        self.button = w.Button(description=f"Compute {self._names()}", button_style="primary", icon="play")
        self.button.layout.width = "auto"
        self.button.on_click(errors.guard(self._start))
        self.line = w.HTML(f"<span>{escape(self._text())}</span>")
        super().__init__([self.line, self.button])
        self.add_class("workbench-offer")

    def _names(self) -> str:
        return ", ".join(STAGES[name][1] for name in self.stages)

    def _text(self) -> str:
        text = f"These {len(self.ds):,} rows have no {self._names()} yet."
        if "score" in self.stages:
            text += (
                f" Scoring takes about {_in_words(scoring_seconds(self.ds))} on this machine with a model of "
                "135 M parameters, and proportionally longer with a larger one. Cached scores are reused."
            )
        return text

    def _start(self, button) -> None:
        self.button.disabled = True
        self._errors.start(self._run_all())

    async def _run_all(self) -> None:
        try:
            for name in self.stages:
                self.line.value = status(f"computing {STAGES[name][1]} …")
                await asyncio.to_thread(self._run, name)
            self._on_done(self.ds)
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
    """Estimated seconds to score all of `ds` on this CPU with a model of 135 M parameters.

    Two passes of 2 x parameters x tokens operations, at half the speed of a matrix product. The number of
    tokens is estimated from the number of characters.
    """
    characters = sum(len(text or "") for name in ("instruction", "response") for text in ds[name])
    a = torch.rand(_SIDE, _SIDE)
    durations = []
    for _ in range(3):
        start = time.perf_counter()
        a @ a
        durations.append(time.perf_counter() - start)
    rate = 2 * _SIDE**3 / min(durations)
    return _PASSES * 2 * _PARAMETERS * characters / _CHARACTERS / (_EFFICIENCY * rate)


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

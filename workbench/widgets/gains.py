"""What the instruction gains on each token of the open row's response; a model is asked, so on demand."""

import asyncio
from functools import partial

import datasets
import ipywidgets as w

from .. import complexity, figures
from ..core import tables
from ..core.texts import escaped
from . import beside
from .events import ErrorPanel

_SETTINGS = ("convention", "prompt", "max_length")  # of the scores that are explained


class TokenGains(w.VBox):
    """A button that has `wb.explain` ask `model`, in the background where an event loop runs."""

    def __init__(self, model: str, errors: ErrorPanel):
        self._model, self._errors = model, errors
        self._ds: datasets.Dataset | None = None
        self._row = -1
        self.ask = w.Button(
            description=f"Gain on each token (loads {model})",
            tooltip="scores this row's response with and without its instruction, token by token",
            layout=w.Layout(width="auto"),
        )
        self.ask.on_click(errors.guard(self._asked))
        self.line, self.tokens = w.HTML(), w.HTML()
        super().__init__([w.HBox([self.ask, self.line]), self.tokens])

    def show(self, ds: datasets.Dataset, row: int) -> None:
        """Make ready for `row`; what is under way for another one will not be shown."""
        self._ds, self._row = ds, row
        self.line.value = self.tokens.value = ""

    def _asked(self, button) -> None:
        noted = tables.noted(self._ds, "score")
        settings = {name: noted[name] for name in _SETTINGS if name in noted}
        explain = partial(complexity.explain, self._ds, self._row, self._model, **settings)
        self.ask.disabled = True
        self.line.value = f"asking {escaped(self._model)} about row {self._row} …"
        self._task = beside.start(self._in_background(self._row, explain), self._errors)

    async def _in_background(self, row: int, explain) -> None:
        try:
            found = await asyncio.to_thread(explain)
            if row == self._row:
                self.line.value = f"IFD {found.ifd:.4f} by {escaped(self._model)}"
                self.tokens.value = figures.token_gains(found.tokens).html
        except Exception:
            self.line.value = ""
            raise
        finally:
            self.ask.disabled = False

"""What a fine-tuning on the plan at hand would take, measured on request without blocking the notebook."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from html import escape

import ipywidgets as w

from ..core.errors import UserError
from ..cost import Calibration, Cost, calibrate, stored
from ..packing import PackPlan
from .tasks import ErrorPanel

_ASK = "Estimate time and memory (about 20 s)"
_PREDICTED = ("epochs", "accumulation")  # settings that one calibration holds for, whatever they are


class CostPanel(w.HBox):
    """A button, and beside it steps, time and peak memory of training on `plan()` with `settings()`.

    `settings()` gives `model` and any settings of `finetune`. Where these were measured before, the
    prediction stands there without a click. Call `refresh` when the plan or the settings change; `tell` gets
    what predicts the cost of a plan, whenever that is another one, and null where nothing does.
    """

    def __init__(
        self,
        plan: Callable[[], PackPlan | None],
        settings: Callable[[], dict],
        errors: ErrorPanel,
        tell: Callable[[Callable[[PackPlan], Cost] | None], None] = lambda predict: None,
    ):
        self._plan, self._settings, self._errors, self._tell = plan, settings, errors, tell
        self._known: dict[str, Calibration | None] = {}
        self._told: tuple[Calibration, dict] | None = None
        self.button = w.Button(description=_ASK, icon="clock-o", layout=w.Layout(width="auto"))
        self.button.on_click(errors.guard(self._measure))
        self.line = w.HTML()
        super().__init__([self.button, self.line], layout=w.Layout(flex_flow="row wrap"))
        self.add_class("workbench-cost")
        self.refresh()

    def refresh(self) -> None:
        """Show what the plan would take now."""
        key = self._key()
        if key in self._known:
            self._show()
        else:
            self._known[key] = None
            self._errors.start(self._look_up(key))

    def _key(self) -> str:
        """The settings that are calibrated for, as JSON."""
        chosen = {name: value for name, value in self._settings().items() if name not in _PREDICTED}
        return json.dumps(chosen, sort_keys=True, default=str)

    def _show(self) -> None:
        settings, known, plan = self._settings(), self._known.get(self._key()), self._plan()
        self.button.layout.display = "none" if known else ""
        counts = {name: settings[name] for name in _PREDICTED if name in settings}
        if known and plan is not None:
            self._say(f"Training on this: {known.predict(plan, **counts)}")
        else:
            self._say("measuring some steps ..." if self.button.disabled else "")
        if self._told != (told := known and (known, counts)):
            self._told = told
            self._tell(partial(known.predict, **counts) if known else None)

    def _say(self, text: str) -> None:
        self.line.value = f"<span>{escape(text)}</span>"

    def _measure(self, button) -> None:
        self.button.disabled = True
        self._show()
        self._errors.start(self._calibrate(self._key()))

    async def _look_up(self, key: str) -> None:
        with suppress(UserError):  # settings that cannot be: the button, and the run, tell
            self._known[key] = await asyncio.to_thread(stored, **json.loads(key))
        self._show()

    async def _calibrate(self, key: str) -> None:
        try:
            self._known[key] = await asyncio.to_thread(calibrate, **json.loads(key))
        finally:
            self.button.disabled = False
            self._show()

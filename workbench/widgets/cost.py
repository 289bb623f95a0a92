"""Predicted time and memory of a training, from a calibration that runs without blocking the notebook."""

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

_LABEL = "Estimate time and memory (about 20 s)"
_FREE = ("epochs", "accumulation")  # a calibration is valid for any value of these


class CostPanel(w.HBox):
    """A button that calibrates, and the predicted steps, time and peak memory of training on a plan.

    A stored calibration is used without a click. Call `refresh` when the plan or the settings change.

    Parameters
    ----------
    plan : returns the packing plan to train on, or None.
    settings : returns `model` and settings of `wb.finetune`.
    errors : the panel that shows exceptions.
    tell : called with the function that predicts the cost of a plan whenever it changes, or with None
        if there is no calibration for the settings. The panel then leaves the numbers to the listener.
    """

    def __init__(
        self,
        plan: Callable[[], PackPlan | None],
        settings: Callable[[], dict],
        errors: ErrorPanel,
        tell: Callable[[Callable[[PackPlan], Cost] | None], None] | None = None,
    ):
        self._plan, self._settings, self._errors, self._tell = plan, settings, errors, tell
        self._calibrations: dict[str, Calibration | None] = {}  # by the settings that they are for
        self._current: tuple[Calibration, dict] | None = None
        self.button = w.Button(description=_LABEL, icon="clock-o", layout=w.Layout(width="auto"))
        self.button.on_click(errors.guard(self._measure))
        self.line = w.HTML()
        super().__init__([self.button, self.line], layout=w.Layout(flex_flow="row wrap"))
        self.add_class("workbench-cost")
        self.refresh()

    def refresh(self) -> None:
        """Show the prediction for the current plan and settings."""
        key = self._key()
        if key in self._calibrations:
            self._show()
        else:
            self._calibrations[key] = None
            self._errors.start(self._look_up(key))

    def _key(self) -> str:
        """The settings that a calibration depends on, as JSON."""
        chosen = {name: value for name, value in self._settings().items() if name not in _FREE}
        return json.dumps(chosen, sort_keys=True, default=str)

    def _show(self) -> None:
        settings, plan = self._settings(), self._plan()
        calibration = self._calibrations.get(self._key())
        self.button.layout.display = "none" if calibration else ""
        counts = {name: settings[name] for name in _FREE if name in settings}
        if calibration and plan is not None and not self._tell:
            self._say(f"Training on this: {calibration.predict(plan, **counts)}")
        else:
            self._say("measuring a few training steps …" if self.button.disabled else "")
        current = calibration and (calibration, counts)
        if self._current != current:
            self._current = current
            if self._tell:
                self._tell(partial(calibration.predict, **counts) if calibration else None)

    def _say(self, text: str) -> None:
        self.line.value = f"<span>{escape(text)}</span>"

    def _measure(self, button) -> None:
        self.button.disabled = True
        self._show()
        self._errors.start(self._calibrate(self._key()))

    async def _look_up(self, key: str) -> None:
        with suppress(UserError):  # wrong settings are reported by the button and by the run
            self._calibrations[key] = await asyncio.to_thread(stored, **json.loads(key))
        self._show()

    async def _calibrate(self, key: str) -> None:
        try:
            self._calibrations[key] = await asyncio.to_thread(calibrate, **json.loads(key))
        finally:
            self.button.disabled = False
            self._show()

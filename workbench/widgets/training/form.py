"""The settings of a fine-tuning as controls; the less common ones are folded."""

import sys
from dataclasses import asdict

import ipywidgets as w

from ... import packing
from ...lm.prompts import TRAIN_ON
from ...training.settings import METHODS, settings_of
from ..controls import set_tooltip

# The paper's learning rate, and ten times that for adapters.
_LEARNING_RATES = {"full": 5e-5, "lora": 5e-4, "qlora": 5e-4}
_TOOLTIPS = {
    "model": "A short name, a local folder or a hub id",
    "output_dir": "Folder of the run; if it holds a run, that run is shown",
    "method": "lora and qlora train adapters; full trains all weights",
    "strategy": "How samples are packed into rows",
    "max_length": "Maximum tokens per row; longer samples are truncated",
    "batch_size": "Samples per forward pass",
    "epochs": "Passes over the selection",
    "rate": "5e-5 suits full fine-tuning, 5e-4 adapters",
    "accumulation": "Forward passes per optimizer step",
    "checkpointing": "Recomputes activations in the backward pass: less memory, more time",
    "train_on": "Answers of a dialogue to train on: the last one or all",
    "seed": "Seed of the sample order and of the adapters",
    "detached": "Train in a separate process: the run continues when the kernel restarts or the browser is "
    "closed, and this panel shows it again. Otherwise it runs in the kernel, starts a few seconds earlier "
    "and ends with it.",
}
_ON_COLAB = " On Colab the machine itself is removed when the session ends, so there is little to gain."


class TrainingForm(w.VBox):
    """A control for each setting that is commonly changed; `settings()` returns the values of all.

    `settings` are initial `TrainingSettings`. Those without a control keep their value, in `fixed`.
    Raises UserError if a name or value is wrong.
    """

    def __init__(self, model: str, output_dir: str, settings: dict):
        initial = {"method": "lora", "batch_size": 4} | settings
        initial = {"learning_rate": _LEARNING_RATES.get(initial["method"])} | initial
        values = asdict(settings_of(initial))
        packers = list(packing.PACKERS)
        self.model = _control(w.Text, model, "Model")
        self.output_dir = _control(w.Text, output_dir, "Folder", continuous_update=False)
        self.method = _control(w.Dropdown, values["method"], "Method", options=METHODS)
        self.strategy = _control(w.Dropdown, values["strategy"], "Packing", options=packers)
        self.max_length = _number(values["max_length"], "Max length")
        self.batch_size = _number(values["batch_size"], "Batch size")
        self.epochs = _number(values["epochs"], "Epochs")
        self.rate = _control(w.FloatText, values["learning_rate"], "Learning rate")
        self.accumulation = _number(values["accumulation"], "Accumulation")
        self.train_on = _control(w.Dropdown, values["train_on"], "Answers", options=TRAIN_ON)
        self.checkpointing = _check(values["gradient_checkpointing"], "Gradient checkpointing")
        self.seed = _number(values["seed"], "Seed", minimum=0)
        colab = "google.colab" in sys.modules
        self.detached = _check(not colab, "Survives the kernel")
        for name, tooltip in _TOOLTIPS.items():
            set_tooltip(getattr(self, name), tooltip)
        if colab:
            set_tooltip(self.detached, _TOOLTIPS["detached"] + _ON_COLAB)
        self.fixed = {name: value for name, value in settings.items() if name not in self._controls()}
        self.method.observe(self._follow_method, "value")
        super().__init__(self._layout_parts(), layout=w.Layout(width="100%"))

    def _controls(self) -> dict[str, w.Widget]:
        """Name of a setting -> its control."""
        return {
            "method": self.method,
            "strategy": self.strategy,
            "max_length": self.max_length,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "learning_rate": self.rate,
            "accumulation": self.accumulation,
            "train_on": self.train_on,
            "gradient_checkpointing": self.checkpointing,
            "seed": self.seed,
        }

    def settings(self) -> dict:
        """`TrainingSettings` as keyword arguments of `wb.finetune`."""
        return self.fixed | {name: control.value for name, control in self._controls().items()}

    def _layout_parts(self) -> list[w.Widget]:
        rare = [self.accumulation, self.train_on, self.seed, self.checkpointing]
        if self.fixed:
            text = ", ".join(f"{name}={value!r}" for name, value in self.fixed.items())
            rare.append(w.Label(f"Fixed: {text}"))
        more = w.Accordion([w.VBox(rare)], selected_index=None)
        more.set_title(0, "More")
        usual = [self.model, self.method, self.strategy, self.max_length, self.batch_size, self.epochs]
        return [*usual, self.rate, self.output_dir, self.detached, more]

    def _follow_method(self, change) -> None:
        """Set the default learning rate of the new method, unless the user has changed the old one."""
        if self.rate.value == _LEARNING_RATES[change["old"]]:
            self.rate.value = _LEARNING_RATES[change["new"]]


def _control(kind: type, value, description: str, **options):
    style, layout = {"description_width": "7.5em"}, w.Layout(width="auto")
    return kind(value=value, description=description, style=style, layout=layout, **options)


def _number(value: int, description: str, minimum: int = 1) -> w.BoundedIntText:
    return _control(w.BoundedIntText, value, description, min=minimum, max=2**31 - 1)


def _check(value: bool, description: str) -> w.Checkbox:
    control = _control(w.Checkbox, value, description)
    control.indent, control.style = False, {"description_width": "initial"}
    return control

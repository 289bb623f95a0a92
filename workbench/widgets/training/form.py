"""The settings of a fine-tuning as controls, the rare ones folded away."""

import sys
from dataclasses import asdict

import ipywidgets as w

from ... import packing
from ...training.settings import METHODS, settings_of

_RATES = {"full": 5e-5, "lora": 5e-4, "qlora": 5e-4}  # the paper's, and ten times that for adapters
_SURVIVES = (
    "A process of its own: the run goes on when the kernel restarts or the browser is closed, and this panel "
    "finds it again. Otherwise the run lives in the kernel: it starts some seconds sooner and ends with it."
)
_ON_COLAB = " On Colab the machine itself goes when the session ends, so little is won there."


class TrainingForm(w.VBox):
    """A control for each setting that people change; `settings()` has their values and those of `fixed`.

    `given` are `TrainingSettings`: those with a control are where it starts, the others stay as they are.
    """

    def __init__(self, model: str, output_dir: str, given: dict):
        start = {"method": "lora", "batch_size": 4} | given
        start = {"learning_rate": _RATES.get(start["method"])} | start
        at = asdict(settings_of(start))  # a name or value that is none is told before anything is built
        self.model = _control(w.Text, model, "Model", "A short name, a local folder or a hub id")
        self.output_dir = _control(
            w.Text, output_dir, "Folder", "Where the run lives; a folder with a run shows it", quick=False
        )
        self.method = _control(
            w.Dropdown, at["method"], "Method", "lora and qlora train adapters; full trains all weights",
            options=METHODS,
        )  # fmt: skip
        self.strategy = _control(
            w.Dropdown, at["strategy"], "Packing", "How samples share rows", options=list(packing.PACKERS)
        )
        self.max_length = _number(at["max_length"], "Max length", "Tokens of a row; longer samples are cut")
        self.batch_size = _number(at["batch_size"], "Batch size", "Samples of one forward pass")
        self.epochs = _number(at["epochs"], "Epochs", "How often each sample is seen")
        self.rate = _control(
            w.FloatText, at["learning_rate"], "Learning rate", "5e-5 suits full tuning, 5e-4 adapters"
        )
        self.accumulation = _number(
            at["accumulation"], "Accumulation", "Forward passes of one optimizer step"
        )
        self.checkpointing = _check(
            at["gradient_checkpointing"],
            "Gradient checkpointing",
            "Computes layers again: less memory, more time",
        )
        self.seed = _number(at["seed"], "Seed", "Of the order of the samples and of adapters", least=0)
        colab = "google.colab" in sys.modules
        self.detached = _check(not colab, "Survives the kernel", _SURVIVES + (_ON_COLAB if colab else ""))
        self.fixed = {name: value for name, value in given.items() if name not in self._controls()}
        self.method.observe(self._follow_method, "value")
        super().__init__(self._laid_out(), layout=w.Layout(width="100%"))

    def _controls(self) -> dict[str, w.Widget]:
        """Setting -> its control."""
        return {
            "method": self.method,
            "strategy": self.strategy,
            "max_length": self.max_length,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "learning_rate": self.rate,
            "accumulation": self.accumulation,
            "gradient_checkpointing": self.checkpointing,
            "seed": self.seed,
        }

    def settings(self) -> dict:
        """What `wb.finetune` takes of `TrainingSettings`."""
        return self.fixed | {name: control.value for name, control in self._controls().items()}

    def _laid_out(self) -> list[w.Widget]:
        rare = [self.accumulation, self.seed, self.checkpointing]
        if self.fixed:
            told = ", ".join(f"{name}={value!r}" for name, value in self.fixed.items())
            rare.append(w.Label(f"As given: {told}"))
        more = w.Accordion([w.VBox(rare)], selected_index=None)
        more.set_title(0, "More")
        usual = [self.model, self.method, self.strategy, self.max_length, self.batch_size, self.epochs]
        return [*usual, self.rate, self.output_dir, self.detached, more]

    def _follow_method(self, change) -> None:
        """A learning rate that nobody chose becomes that of the new method."""
        if self.rate.value == _RATES[change["old"]]:
            self.rate.value = _RATES[change["new"]]


def _control(kind: type, value, description: str, meaning: str, quick: bool = True, **options):
    made = kind(
        value=value,
        description=description,
        style={"description_width": "7.5em"},
        layout=w.Layout(width="auto"),
        **options,
        **({} if quick else {"continuous_update": False}),
    )
    made.set_trait("tooltip" if made.has_trait("tooltip") else "description_tooltip", meaning)
    return made


def _number(value: int, description: str, meaning: str, least: int = 1) -> w.BoundedIntText:
    return _control(w.BoundedIntText, value, description, meaning, min=least, max=2**31 - 1)


def _check(value: bool, description: str, meaning: str) -> w.Checkbox:
    made = _control(w.Checkbox, value, description, meaning)
    made.indent, made.style = False, {"description_width": "initial"}
    return made

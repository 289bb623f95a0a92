"""Launch a fine-tuning from the dashboard and follow it without blocking the notebook."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path

import ipywidgets as w

from ..selection import Selection
from ..training import Run, finetune
from ..training.settings import METHODS
from .events import ErrorPanel

_EVERY = 0.5  # seconds between looks at the run


class TrainingPanel(w.VBox):
    """Settings, a button, and the progress of the run that it started."""

    def __init__(
        self,
        selected: Callable[[], Selection],
        errors: ErrorPanel,
        model: str,
        output_dir: str | Path,
        max_length: int,
    ):
        self._selected, self._errors, self._max_length = selected, errors, max_length
        self.run: Run | None = None
        narrow, wide = w.Layout(width="13em"), {"description_width": "initial"}
        self.model = w.Text(model, description="Model", style=wide, layout=w.Layout(width="18em"))
        self.method = w.Dropdown(
            options=METHODS, value="lora", description="Method", style=wide, layout=narrow
        )
        self.epochs = w.BoundedIntText(1, min=1, max=100, description="Epochs", style=wide, layout=narrow)
        self.rate = w.FloatText(5e-4, description="Learning rate", style=wide, layout=narrow)
        self.batch_size = w.BoundedIntText(4, min=1, max=1024, description="Batch", style=wide, layout=narrow)
        self.output_dir = w.Text(
            str(output_dir), description="Folder", style=wide, layout=w.Layout(width="18em")
        )
        self.start = w.Button(description="Fine-tune", button_style="primary", icon="play")
        self.start.layout.width = "12em"
        self.stop = w.Button(description="Stop", icon="stop", disabled=True)
        self.bar = w.IntProgress(layout=w.Layout(width="20em", visibility="hidden"))
        self.line = w.HTML()
        self.start.on_click(errors.guard(self._start))
        self.stop.on_click(errors.guard(self._stop))
        settings = [self.model, self.method, self.epochs, self.rate, self.batch_size, self.output_dir]
        wrap = w.Layout(flex_flow="row wrap")
        super().__init__(
            [
                w.HTML('<b style="font-size:1.15em">Fine-tune on the kept rows</b>'),
                w.HBox(settings, layout=wrap),
                w.HBox([self.start, self.stop, self.bar, self.line], layout=wrap),
            ]
        )

    def _start(self, button) -> None:
        self.run = finetune(
            self._selected().dataset,
            self.model.value,
            Path(self.output_dir.value),
            overwrite=True,
            method=self.method.value,
            epochs=self.epochs.value,
            learning_rate=self.rate.value,
            batch_size=self.batch_size.value,
            max_length=self._max_length,
        )
        self.start.disabled, self.stop.disabled = True, False
        self.refresh()
        with suppress(RuntimeError):  # no event loop, as in a script: `refresh` is the caller's
            loop = asyncio.get_running_loop()
            self._following = loop.create_task(self._follow())  # a loop holds its tasks only weakly

    def _stop(self, button) -> None:
        self.stop.disabled = True
        self.run.request_stop()

    async def _follow(self) -> None:
        while self.run.active:
            self.refresh()
            await asyncio.sleep(_EVERY)
        self.refresh()

    def refresh(self) -> None:
        """Show how the run stands now."""
        run = self.run
        if run.history:
            last = run.history[-1]
            self.bar.max, self.bar.value = last["of"], last["step"]
            self.bar.layout.visibility = "visible"
        self.line.value = _sentence(run)
        if not run.active:
            self.start.disabled, self.stop.disabled = False, True
            if run.error:
                self._errors.show(run.error)


def _sentence(run: Run) -> str:
    words = [run.status]
    if run.history:
        last = run.history[-1]
        words += [f"step {last['step']} of {last['of']}", f"loss {last['loss']:.3f}"]
        words += [f"{last['tokens_per_second']:.0f} tokens/s", f"peak {last['peak_memory_mib']:,} MiB"]
        if run.status == "running":
            left = last["seconds"] / last["step"] * (last["of"] - last["step"])
            words.append(f"about {left:.0f} s left")
    if run.status == "done":
        words.append(f"model in {run.model_dir}")
    return f"<span>{escape(' · '.join(words))}</span>"

"""Fine-tuning in the background: in a thread of the notebook, or in a process that outlives it (`detached`).

A `Run` keeps no state outside its folder, so any notebook or shell can open the same run with `attach`.
"""

import time
from pathlib import Path

import datasets

from ..core import progress
from ..core.errors import UserError
from ..lm import models
from . import job, lifecycle, quality
from .folder import History, RunFolder
from .settings import TrainingSettings

_POLL = 0.2  # seconds between updates of the progress bar
_LONG = 2.0  # seconds after which the bar says how long a step has run


class Run:
    """A fine-tuning run, as `finetune` starts and `attach` opens it. All properties read the run's folder.

    The folder `output_dir` holds run.json (settings, status, summary), history.jsonl, run.log, the model when
    the run is done or stopped, and until it is done the last checkpoint.
    """

    def __init__(self, output_dir: Path):
        self.output_dir = output_dir
        self._folder = RunFolder(output_dir)
        self._history = History(self._folder.history_file)

    @property
    def status(self) -> str:
        """One of "queued", "running", "done", "stopped" or "failed".

        A queued run waits for another run on the same device. A run whose process was killed is "failed"; on
        another machine this is noticed after 3 minutes without a sign of life.
        """
        return lifecycle.state_of(self._folder)["status"]

    @property
    def active(self) -> bool:
        """Whether the run is queued or running."""
        return self.status in lifecycle.ACTIVE or lifecycle.thread_of(self._folder) is not None

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested and the run has not ended yet."""
        return self._folder.stop_file.exists() and self.active

    @property
    def detached(self) -> bool:
        """Whether the run has a process of its own, which outlives the kernel."""
        return self._folder.read()["detached"]

    @property
    def error(self) -> UserError | None:
        """Why the run failed (e.g. out of memory, disk full, killed), what to do next, and the last lines of
        the log; None if it did not fail."""
        return lifecycle.error_of(self._folder)

    @property
    def history(self) -> list[dict]:
        """One record for each optimizer step so far.

            step, of             number of this step, and of all steps
            loss                 mean training loss, nats per predicted token
            learning_rate        of this step
            tokens               tokens trained on so far, without padding
            seconds              training time so far, with saving and without evaluation
            tokens_per_second    mean speed since the start or the last resume
            peak_memory_mib      peak memory so far in MiB, above what the process held before the model was
                                 loaded: allocated on the GPU, else resident in RAM
            heldout_loss         loss on the held-out rows, nats per predicted token
            preference           share of the twins less likely than their reference, 0 to 1
            margin               mean nll of the twins minus that of their reference, nats
            pass_at_1            share of the evaluation tasks solved, 0 to 1
            eval_seconds         duration of the evaluation
            eval_error           why the evaluation failed, which does not end the run

        The last six are only in records of steps after which the model was evaluated (`eval_steps`).
        """
        return self._history.read()

    @property
    def model(self) -> str:
        """The model that is tuned: a name, or the path of a folder."""
        return self._folder.read()["model"]

    @property
    def settings(self) -> TrainingSettings:
        """The settings of the run, with the defaults filled in."""
        return TrainingSettings(**self._folder.read()["settings"])

    @property
    def summary(self) -> dict:
        """Figures of the whole run.

            samples, samples_without_target
                                 samples to train on, and those left out because they have no response token
                                 within `max_length`
            samples_refused      rows left out because the chat template refuses their turns
            overlong             what was done to samples of more than `max_length` tokens, as text
            tokens               tokens of all epochs (until the run starts) or up to `max_steps`, without
                                 padding
            rows_sha256          hash of the rows
            padding_rate         padding / computed tokens
            stopped, steps       whether the run was stopped, and the optimizer steps done
            seconds              training time, with saving and without evaluation
            memory_before_mib, peak_memory_mib
                                 MiB that the process held before the model was loaded, and the peak above
                                 it, which is the training's own

        `padding_rate` is there once the run has started, and the figures after it once it is done or stopped.
        """
        return self._folder.read()["summary"]

    @property
    def model_dir(self) -> Path:
        """The folder of the tuned model or adapter, which exists once the run is done or stopped."""
        return self._folder.model

    def log(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        return "\n".join(self._folder.tail(lines))

    def wait(self, timeout: float | None = None) -> "Run":
        """Show a progress bar until the run has ended, at most for `timeout` seconds, and return the run.

        Raises UserError if the run failed. Interrupting the kernel ends the waiting and not the run.
        """
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        try:
            self._follow(deadline)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"the run in {self.output_dir} continues; call its stop() to end it."
            ) from None
        if not self.active and (error := self.error):
            raise error
        return self

    def _follow(self, deadline: float) -> None:
        bar = progress.bar(None, f"train {self.output_dir.name}", unit="step")
        bar.set_postfix_str("loading the model")
        try:
            while self.active and time.monotonic() < deadline:
                time.sleep(min(_POLL, max(0.0, deadline - time.monotonic())))
                self._show(bar)
            self._show(bar)
        finally:
            bar.close()

    def _show(self, bar) -> None:
        """Move `bar` to the forward pass that runs, and show loss, speed and how long the step has run."""
        history, current = self.history, self._folder.read_progress()
        if not history and not current:
            return
        done, of, since = current or (0.0, 0, time.time())
        if history and history[-1]["step"] >= done:
            done, of = history[-1]["step"], history[-1]["of"]
        parts = []
        if history:
            last = history[-1]
            parts = [f"loss {last['loss']:.3f}", f"{last['tokens_per_second']:.0f} tokens/s"]
        if done < of and (seconds := time.time() - since) >= _LONG:
            parts.append(f"step {int(done) + 1} for {seconds:.0f} s")
        is_first, bar.total = bar.total is None, of
        bar.set_postfix_str(", ".join(parts) or f"step {int(done) + 1}", False)
        bar.update(round(done, 2) - bar.n)
        if is_first or time.monotonic() - getattr(bar, "last_shown", 0) >= getattr(bar, "mininterval", 0):
            bar.refresh()
            bar.last_shown = time.monotonic()

    def request_stop(self) -> None:
        """Request an end after the current step, with a checkpoint for `resume`; return at once."""
        if self.active:
            self._folder.stop_file.touch()

    def stop(self) -> "Run":
        """End the run after its current step, with a checkpoint for `resume`, and return the run.

        The model as trained so far is saved in `model_dir`. Raises UserError if the run failed.
        """
        self.request_stop()
        return self.wait()

    def resume(self) -> "Run":
        """Continue a stopped or failed run from its last complete checkpoint, and return at once.

        The run is detached if it was before. Losses and weights are those of an uninterrupted run. Without a
        checkpoint, the run starts over. Raises UserError if the run is active or done.
        """
        job.start(self._folder, self._folder.read()["detached"])
        return self

    def __repr__(self) -> str:
        history = self.history
        step = f", step {history[-1]['step']} of {history[-1]['of']}" if history else ""
        return f"<Run {self.output_dir}: {self.status}{step}>"


def attach(output_dir: str | Path) -> Run:
    """Open the run in `output_dir`, whoever started it: this notebook, an earlier kernel or a script.

    `wb.widgets.RunPanel(output_dir)` shows a run live in a notebook cell. Raises UserError if the folder
    holds no run.
    """
    if not RunFolder(Path(output_dir)).state_file.exists():
        raise UserError(f"output_dir={str(output_dir)!r} holds no run; start one with wb.finetune.")
    return Run(Path(output_dir))


def finetune(
    ds: datasets.Dataset,
    model: str | Path = "smollm2-135m",
    output_dir: str | Path = "runs/finetune",
    *,
    overwrite: bool = False,
    detached: bool = False,
    heldout: datasets.Dataset | None = None,
    **settings,
) -> Run:
    """Start to fine-tune `model` on `ds` in the background and return the `Run` at once.

    `ds` has the columns `instruction` and `response`. Only response tokens and the closing end-of-sequence
    token are predicted, under the model's instruction template; with `train_on="all"`, also the earlier
    answers of a `dialogue`. `model` is a short name, a local folder or a
    hub id; a folder that holds an adapter is merged into its base first.

    The run is a thread of this process. `detached=True` makes it a process of its own, which continues when
    the kernel and the browser are closed; `attach(output_dir)` opens it again from anywhere. Runs of one user
    take turns on a device. `Run.stop` ends a run with a checkpoint and `Run.resume` continues from it. After
    a crash, a kill, or when memory or disk space run out, `Run.error` says what to do, and the last
    checkpoint is at most 20 minutes old (`save_minutes`, `save_steps`).

    `settings` are the fields of `TrainingSettings`. Samples packed into one row never attend to each other,
    unless `leaky=True`. A model that cannot keep them apart trains only with `strategy="pad"` or "max"; any
    other strategy fails the run. With `pad`, `dynamic`, `balanced` and `flat`, a step sees the samples that
    it would see without packing, so losses and weights are those of padded training (arXiv 2504.12687,
    section 4.2, describes `dynamic`). With `bfd` and `exact`, packing changes which samples share a step. If
    memory is short, use `gradient_checkpointing=True`, `optimizer="adafactor"`, `method="lora"` or, on NVIDIA
    GPUs, `method="qlora"`.

    `heldout` has rows to evaluate on every `eval_steps` optimizer steps: `instruction` and `response` for the
    held-out loss, and `check` (assertions) for `eval_tasks`. The figures are added to `Run.history`.

    Raises UserError, before anything is written, if a setting is unknown or out of range, if this machine
    lacks the hardware for it, if no row has a response token within `max_length`, or if `output_dir` holds a
    run. `overwrite=True` replaces that run, unless it is active; other files in the folder stay.
    """
    folder = lifecycle.prepare(ds, model, output_dir, heldout, overwrite=overwrite, **settings)
    job.start(folder, detached)
    return Run(folder.path)


def finished(
    ds: datasets.Dataset,
    model: str | Path,
    output_dir: str | Path,
    heldout: datasets.Dataset | None = None,
    **settings,
) -> Run | None:
    """The run in `output_dir` if it is done and `finetune` with these arguments would repeat it, else None.

    It would if rows, model, settings and held-out rows are the same, and no file of the model has changed
    since the run was created.
    """
    folder = RunFolder(Path(output_dir))
    if not folder.state_file.exists() or lifecycle.state_of(folder)["status"] != "done":
        return None
    if not folder.samples_file.exists() or job.first_difference(folder, ds, model, settings):
        return None
    if not quality.same_rows(heldout, folder.heldout_file):
        return None
    created, weights = folder.samples_file.stat().st_mtime, models.on_disk(model)
    if weights is None or any(path.stat().st_mtime > created for path in weights.rglob("*")):
        return None
    return Run(folder.path)

"""A fine-tuning that leaves the notebook usable: a thread of it, or (`detached`) a process that outlives it.

A `Run` holds nothing that is not in its folder, so any notebook or shell can take it up with `attach`.
"""

import time
from pathlib import Path

import datasets

from ..core import progress
from ..core.errors import UserError
from . import job, lifecycle
from .folder import History, RunFolder
from .settings import TrainingSettings

_EVERY = 0.2  # seconds between looks at a run that is waited for


class Run:
    """`status` is "queued", "running", "done", "stopped" or "failed"; `error` says why it failed.

    `history` has a record for each optimizer step (loss in nats per predicted token, tokens without padding,
    seconds, peak memory in MiB; where measured, `heldout_loss` in the same unit, `pass_at_1` from 0 to 1, and
    `eval_seconds`, or why not, `eval_error`); `summary` describes the whole.
    """

    def __init__(self, output_dir: Path):
        self.output_dir = output_dir
        self._folder = RunFolder(output_dir)
        self._history = History(self._folder.history_file)

    @property
    def status(self) -> str:
        return lifecycle.state_of(self._folder)["status"]

    @property
    def active(self) -> bool:
        """Whether the run is queued or running."""
        return self.status in lifecycle.ACTIVE or lifecycle.thread_of(self._folder) is not None

    @property
    def stopping(self) -> bool:
        """Whether the run was asked to stop and has not ended yet."""
        return self._folder.stop_file.exists() and self.active

    @property
    def detached(self) -> bool:
        """Whether the run is a process of its own, which outlives the kernel."""
        return self._folder.read()["detached"]

    @property
    def error(self) -> UserError | None:
        """The cause of a failure, the next step and the last lines of the log."""
        return lifecycle.error_of(self._folder)

    @property
    def history(self) -> list[dict]:
        return self._history.read()

    @property
    def model(self) -> str:
        """The model that is tuned: a name, or the path of a folder."""
        return self._folder.read()["model"]

    @property
    def settings(self) -> TrainingSettings:
        return TrainingSettings(**self._folder.read()["settings"])

    @property
    def summary(self) -> dict:
        return self._folder.read()["summary"]

    @property
    def model_dir(self) -> Path:
        """Where the tuned model is, once the run is done or stopped."""
        return self._folder.model

    def log(self, lines: int = 20) -> str:
        """The last lines of the log."""
        return "\n".join(self._folder.tail(lines))

    def wait(self, timeout: float | None = None) -> "Run":
        """Return when the run has ended, or after `timeout` seconds, showing its progress; raise if it
        failed."""
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        try:
            self._follow(until)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"the run in {self.output_dir} goes on; its stop() ends it.") from None
        if not self.active and (error := self.error):
            raise error
        return self

    def _follow(self, until: float) -> None:
        bar = None
        try:
            while self.active and time.monotonic() < until:
                time.sleep(min(_EVERY, max(0.0, until - time.monotonic())))
                if history := self.history:
                    last = history[-1]
                    bar = bar or progress.bar(last["of"], f"train {self.output_dir.name}", unit="step")
                    bar.update(last["step"] - bar.n)
                    speed = f"{last['tokens_per_second']:.0f} tokens/s"
                    bar.set_postfix_str(f"loss {last['loss']:.3f}, {speed}", False)
        finally:
            if bar:
                bar.close()

    def request_stop(self) -> None:
        """Ask the run to end after its current step, with a checkpoint to `resume` from."""
        if self.active:
            self._folder.stop_file.touch()

    def stop(self) -> "Run":
        """`request_stop`, and wait for the end."""
        self.request_stop()
        return self.wait()

    def resume(self) -> "Run":
        """Go on from the last checkpoint of a stopped or failed run, as it ran before: here, or detached."""
        job.start(self._folder, self._folder.read()["detached"])
        return self

    def __repr__(self) -> str:
        history = self.history
        step = f", step {history[-1]['step']} of {history[-1]['of']}" if history else ""
        return f"<Run {self.output_dir}: {self.status}{step}>"


def attach(output_dir: str | Path) -> Run:
    """The run in `output_dir`, whoever started it: a notebook before its kernel's restart, or a script."""
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
    """Start tuning `model` on `ds` (columns `instruction`, `response`) and return at once.

    The run is a thread of this process; with `detached` it is a process of its own, which goes on when the
    kernel and the browser are closed, and which `attach` finds again. Runs wait for each other.
    `settings` are those of `TrainingSettings`; `heldout` has the rows that its `eval_steps` speaks of, with
    the columns of `ds`, and `check` for `eval_tasks`. `output_dir` must not hold a run already, unless
    `overwrite`.
    """
    folder = lifecycle.prepare(ds, model, output_dir, heldout, overwrite=overwrite, **settings)
    job.start(folder, detached)
    return Run(folder.path)

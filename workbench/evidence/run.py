"""The sweep in a folder: its cells, what they show, and how to wait for it, stop it and resume it.

A `Sweep` keeps no state outside its folder, so any notebook or shell can open the same sweep with
`Sweep(output_dir)`.
"""

import time
from pathlib import Path

import pandas as pd

from .. import figures
from ..core import progress
from ..core.errors import UserError
from ..training.folder import last_lines
from . import work
from .comparisons import comparisons
from .folder import SweepFolder, cells_of
from .table import rows_of, summary_of, table_of
from .verdict import verdict

_POLL = 0.2  # seconds between two looks at the folder


class Sweep:
    """The sweep in the folder `output_dir`, as `wb.sweep` starts it. All properties read the folder.

    `Sweep(output_dir)` opens it from anywhere, e.g. after a restart of the kernel. Raises UserError if the
    folder holds no sweep.
    """

    def __init__(self, output_dir: str | Path):
        self.output_dir = Path(output_dir)
        self._folder = SweepFolder(self.output_dir)
        self._folder.read_content()

    @property
    def table(self) -> pd.DataFrame:
        """A row for each cell, in the order in which they run.

        model, learning_rate, arm, ratio, seed
                     what is trained; the arm "all rows" has ratio 1
        n_rows       rows of the selection
        epochs, tokens, steps
                     passes over its rows, tokens without padding, and optimizer steps of the training
        loss         on the held-out rows, nats per token
        task_loss    on the tasks' reference solutions, nats per token
        preference, margin
                     as in `wb.evaluate`; like `task_loss`, NaN without tasks
        status       "waiting", "running", "done" or "failed"
        seconds, eval_seconds
                     of training and of measuring
        key          name of the cell; equal keys are one training
        """
        return table_of(self._folder)

    @property
    def summary(self) -> pd.DataFrame:
        """A row for each arm and ratio with a finished cell: means over seeds, and for each measure its 95 %
        t interval (`loss_low`, `loss_high`, ...), which covers seeds alone."""
        return summary_of(self.table)

    @property
    def base(self) -> pd.DataFrame:
        """loss, task_loss, preference and margin of each model before training, as far as measured."""
        names = self._folder.read_state().get("bases", {})
        results = {model: self._folder.result(key) for model, key in names.items()}
        columns = ["loss", "task_loss", "preference", "margin"]
        lines = {model: [result[name] for name in columns] for model, result in results.items() if result}
        return pd.DataFrame.from_dict(lines, orient="index", columns=columns).rename_axis("model")

    @property
    def comparisons(self) -> pd.DataFrame:
        """All comparisons behind `verdict`; see `evidence.comparisons`."""
        table = self.table
        return comparisons(table, rows_of(self._folder, table))

    @property
    def verdict(self) -> list[str]:
        """What the sweep shows so far, in sentences; see `evidence.verdict`."""
        table = self.table
        return verdict(table, rows_of(self._folder, table))

    @property
    def status(self) -> str:
        """One of "running", "done", "stopped" or "failed".

        A sweep whose process was killed is "stopped", and "failed" is one with a failed cell.
        """
        if work.is_active(self._folder):
            return "running"
        keys = {cell.key for cell in cells_of(self._folder.read_content())}
        if all(self._folder.result_file(key).exists() for key in keys):
            return "done"
        failed = self._folder.read_state().get("error") or any(map(self._folder.error, keys))
        return "failed" if failed else "stopped"

    @property
    def active(self) -> bool:
        """Whether a thread or process works on the sweep."""
        return work.is_active(self._folder)

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested and the sweep has not ended yet."""
        return self._folder.stop_file.exists() and self.active

    @property
    def error(self) -> UserError | None:
        """Why the sweep or its first failed cell failed; None if nothing did."""
        text = self._folder.read_state().get("error")
        errors = {cell.key: self._folder.error(cell.key) for cell in cells_of(self._folder.read_content())}
        failed = {key: error for key, error in errors.items() if error}
        if not text and failed:
            key, error = next(iter(failed.items()))
            text = f"{len(failed)} of {len(errors)} cells failed, the first one (runs/{key}): {error}"
        return UserError(f"The sweep in {self.output_dir} failed: {text}") if text else None

    @property
    def budget(self) -> str:
        """What all cells have equal, as in `wb.sweep`."""
        return self._folder.read_content()["design"]["budget"]

    @property
    def settings(self) -> dict:
        """The training settings that all cells share; seed, learning rate, epochs and steps are their own."""
        return self._folder.read_content()["settings"]

    @property
    def progress(self) -> dict:
        """`cells` (different trainings), how many are `done`, `seconds` spent on them, and `seconds_left`.

        The time left follows from the tokens to come, at the pace of the finished cells of the same model;
        None as long as a model has no finished cell.
        """
        table = self.table.drop_duplicates("key")
        done = table["status"] == "done"
        spent = (table["seconds"] + table["eval_seconds"]).where(done)
        left = 0.0
        for _, own in table.groupby("model"):
            pace = (
                spent[own.index].sum() / own["tokens"][done].sum() if done[own.index].any() else float("nan")
            )
            waiting = own["tokens"][~done].sum()
            left += pace * waiting if waiting else 0.0
        left = None if left != left else float(left)
        return {
            "cells": len(table),
            "done": int(done.sum()),
            "seconds": float(spent.sum()),
            "seconds_left": left,
        }

    def figure(self):
        """`wb.figures.sweep(self)`: loss against ratio for each arm, with intervals over seeds."""
        return figures.sweep(self)

    def log(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        return "\n".join(last_lines(self._folder.log_file, lines))

    def wait(self, timeout: float | None = None) -> "Sweep":
        """Show a progress bar until the sweep has ended, at most for `timeout` seconds, and return the sweep.

        Raises UserError if it failed. Interrupting the kernel ends the waiting and not the sweep.
        """
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        with progress.bar(self.progress["cells"], f"sweep {self.output_dir.name}", unit="cell") as bar:
            while self.active and time.monotonic() < deadline:
                time.sleep(min(_POLL, max(0.0, deadline - time.monotonic())))
                bar.update(self.progress["done"] - bar.n)
            bar.update(self.progress["done"] - bar.n)
        if not self.active and (error := self.error):
            raise error
        return self

    def request_stop(self) -> None:
        """Request an end after the current optimizer step; return at once."""
        if self.active:
            self._folder.stop_file.touch()

    def stop(self) -> "Sweep":
        """End the sweep after the current optimizer step, with a checkpoint for `resume`."""
        self.request_stop()
        return self.wait()

    def resume(self, detached: bool | None = None) -> "Sweep":
        """Continue a stopped, killed or failed sweep, and return at once; finished cells do not run again.

        It is detached if it was before, unless `detached` says otherwise. Does nothing if the sweep is active
        or done.
        """
        if self.status in ("stopped", "failed"):
            before = self._folder.read_state().get("detached", True)
            work.start(self._folder, before if detached is None else detached)
        return self

    def __repr__(self) -> str:
        counts = self.progress
        return f"<Sweep {self.output_dir}: {self.status}, {counts['done']} of {counts['cells']} cells>"

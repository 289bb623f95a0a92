"""`wb.sweep`: start the sweep in a folder, in a thread or in a process that outlives it, and follow it.

A `Sweep` keeps no state outside its folder, so any notebook or shell can open the same sweep with
`Sweep(output_dir)`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import datasets
import pandas as pd

from .. import figures
from ..core import progress, tables
from ..core.errors import UserError
from ..core.store import digest
from ..training import TrainingSettings
from ..training.folder import last_lines
from ..training.lifecycle import lasting_name
from ..training.settings import settings_of
from ..training.trainable import check_hardware
from . import work
from .folder import SweepFolder, cells_of
from .plan import Design, plan_cells
from .table import rows_of, summary_of, table_of
from .verdict import comparisons, verdict

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


def sweep(
    ds: datasets.Dataset,
    heldout: datasets.Dataset,
    model: str | Path = "smollm2-135m",
    output_dir: str | Path = "runs/sweep",
    *,
    ratios: Sequence[float] = Design.ratios,
    strategies: Sequence[str] = Design.strategies,
    seeds: int | Mapping[str, int] = Design.seeds,
    budget: str = Design.budget,
    tasks: str | datasets.Dataset | Sequence[str | datasets.Dataset] | None = None,
    learning_rates: Sequence[float] = (),
    models: Sequence[str] = (),
    selection: Mapping | None = None,
    settings: TrainingSettings | None = None,
    keep_models: bool = False,
    detached: bool = True,
    **training,
) -> Sweep:
    """Train on selections of `ds` at several ratios, by several strategies, with several seeds, and compare
    the models on held-out rows. Returns the `Sweep` at once; it runs in the background.

    Random rows and random rows of as many tokens are always among the arms, with three draws or more, because
    only they show what a strategy is worth. `Sweep.verdict` says what the design shows, and what it could
    have shown. Cells with the same rows and settings are one training. Trainings take turns on a device, and
    each is a run of `wb.finetune` in the folder.

    The sweep can be resumed after any interruption: call `Sweep.resume`, or this function again with the same
    arguments. A finished cell never runs again, also if the design grows: cells are stored by their content.

    Args:
        ds: the pool to select from, with the columns that the strategies read (`wb.score`, `wb.cluster`).
        heldout: rows with `instruction` and `response`, which no cell trains on.
        model: the model to fine-tune, or give several `models`.
        output_dir: folder of the sweep.
        ratios, strategies, seeds, budget, learning_rates: see `evidence.Design`.
        tasks: "bundled", "humaneval", "humaneval+", "mbpp" or "mbpp+", a table with `id`, `instruction`,
            `response` and `check`, or several of these: also measure `task_loss`, `preference` and `margin`
            as `wb.evaluate` does. Without them no ratio is named as better than all rows.
        selection: further arguments of `wb.select` for the strategies, e.g. {"max_ifd": 0.9}.
        settings: `TrainingSettings`, or give their fields as keywords, as in `wb.finetune`.
        keep_models: keep the trained model of each cell, in `output_dir/runs/KEY/model`.
        detached: run in a process of its own, which continues when the kernel ends; else in a thread.

    Raises:
        UserError: a parameter or table is not usable, or a sweep with other cells is active in the folder.
    """
    settings = _settings(settings, training)
    check_hardware(settings)
    models = tuple(lasting_name(name) for name in models or (model,))
    names = {"ratios": ratios, "strategies": strategies, "seeds": seeds, "budget": budget}
    design = Design(**names, learning_rates=learning_rates, models=models)
    folder = SweepFolder(Path(output_dir))
    content = _write_tables(folder, ds, heldout, tasks)
    measured_on = digest(content["heldout"], content["tasks"])
    plan = plan_cells(ds, design, settings, measured_on, selection or {})
    content |= {"design": asdict(design), "settings": asdict(settings), "keep_models": keep_models}
    cells = [asdict(cell) for cell in plan.cells]
    if work.is_active(folder):
        if folder.read_content()["cells"] != cells:
            raise UserError(
                f"output_dir={str(output_dir)!r} holds a sweep with other cells that is still active; "
                "wait() for it, stop() it, or choose another folder."
            )
        return Sweep(output_dir)
    folder.write_plan(plan, content)
    return Sweep(output_dir).resume(detached)


def _settings(settings: TrainingSettings | None, training: dict) -> TrainingSettings:
    if settings is not None and training:
        raise UserError(f"settings and {next(iter(training))}= are two ways to set the training; give one.")
    return settings or settings_of(training)


def _write_tables(folder: SweepFolder, ds, heldout, tasks) -> dict:
    """Check the tables and write them to the folder; returns their names."""
    tables.require(ds, ["instruction", "response"], "wb.load")
    tables.require(heldout, ["instruction", "response"], "wb.load")
    if not len(heldout):
        raise UserError("heldout has no rows; set some rows of the data aside.")
    if "id" not in heldout.column_names:
        heldout = tables.with_columns(
            heldout, {"id": list(map(str, range(len(heldout))))}, {"id": tables.TEXT}
        )
    listed = [] if tasks is None else list(tasks) if isinstance(tasks, list | tuple) else [tasks]
    folder.path.mkdir(parents=True, exist_ok=True)
    return {
        "pool": folder.write_table("pool", ds),
        "heldout": folder.write_table("heldout", heldout),
        "tasks": [task if isinstance(task, str) else folder.write_table("tasks", task) for task in listed],
    }

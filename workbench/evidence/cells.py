"""Train one cell in a run of its own, and measure the model."""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import datasets
import numpy as np
import pandas as pd

from ..core import progress, tables
from ..core.store import digest
from ..evaluation import evaluate
from ..lm import models, prompts
from ..lm.prompts import Sample
from ..training import Run, TrainingSettings, job, lifecycle
from ..training.folder import RunFolder
from ..training.schedule import tokenized, usable
from .folder import SweepFolder
from .plan import Cell, Plan

_POLL = 0.05  # seconds between checks for a stop
_HELDOUT = ["task_id", "loss", "n_tokens"]
_TASKS = [*_HELDOUT, "preference", "margin", "n_twins"]


@dataclass(eq=False)
class Bench:
    """What the cells of a sweep share: the pool and its tokens by model, held-out rows, and tasks.

    `tasks` are names of benchmarks, or tables.
    """

    folder: SweepFolder
    plan: Plan
    pool: datasets.Dataset
    heldout: datasets.Dataset
    tasks: list[str | datasets.Dataset]
    keep_models: bool = False
    _samples: dict[str, list[Sample]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: SweepFolder) -> "Bench":
        """Read it from the folder of a sweep."""
        content, plan = folder.read_plan()
        tasks = [folder.read_table(name) if name.endswith(".parquet") else name for name in content["tasks"]]
        pool, heldout = folder.read_table(content["pool"]), folder.read_table(content["heldout"])
        return cls(folder, plan, pool, heldout, tasks, content["keep_models"])

    def run(self, cell: Cell, should_stop: Callable[[], bool]) -> dict | None:
        """Train and measure a cell; return its result, or None if it was stopped.

        A run that was interrupted continues from its last checkpoint. Raises UserError if it fails.
        """
        folder = self.folder.run(cell.key)
        run = self._trained(cell, folder, should_stop)
        if run is None:
            return None
        settings, summary = TrainingSettings(**cell.settings), run.summary
        measured = self.measure(str(run.model_dir), cell.model, settings)
        trained = {name: summary[name] for name in ("tokens", "steps", "seconds", "peak_memory_mib")}
        return trained | measured

    def _trained(self, cell: Cell, folder: RunFolder, should_stop: Callable[[], bool]) -> Run | None:
        if not folder.state_file.exists():
            self._create(cell, folder)
        run = Run(folder.path)
        if run.status != "done":
            job.start(folder, detached=False)
        while thread := lifecycle.thread_of(folder):
            thread.join(_POLL)
            if should_stop():
                run.request_stop()
        if run.error:
            raise run.error
        return run if run.status == "done" else None

    def _create(self, cell: Cell, folder: RunFolder) -> None:
        """Write the run of a cell, without starting it."""
        shutil.rmtree(folder.path, ignore_errors=True)  # a folder that was not written completely
        if cell.model not in self._samples:
            self._samples[cell.model] = tokenized(self.pool, cell.model, TrainingSettings(**cell.settings))
        rows, settings = self.plan.rows[cell.rows], TrainingSettings(**cell.settings)
        samples, summary = usable([self._samples[cell.model][row] for row in rows], settings)
        summary["rows_sha256"] = tables.rows_sha256(self.pool.select(rows))
        state = {"model": cell.model, "settings": asdict(settings), "summary": summary}
        lifecycle.create(folder, samples, None, state, overwrite=False)

    def measure(self, model: str, base: str, settings: TrainingSettings) -> dict:
        """Measure `model`, which was tuned from `base`, on the held-out rows and the tasks.

        loss        nats per token of the held-out responses
        task_loss   nats per token of the tasks' reference solutions
        preference, margin
                    as in `wb.evaluate`; these three are None without tasks
        heldout, tasks
                    the same by row, as lists
        eval_seconds
        """
        started = time.perf_counter()
        template = prompts.resolve_template(models.load_tokenizer(base), settings.template)
        arguments = {"template": template, "dtype": settings.dtype, "device": settings.device}
        with progress.silent():
            heldout = evaluate(model, self.heldout, measures=("loss",), **arguments)
            reports = [evaluate(model, t, measures=("loss", "preference"), **arguments) for t in self.tasks]
        result = {"loss": heldout.loss_per_token, "heldout": _lists(heldout.tasks[_HELDOUT])}
        result |= dict.fromkeys(("task_loss", "preference", "margin", "tasks"))
        if reports:
            tasks = pd.concat([report.tasks[_TASKS] for report in reports], ignore_index=True)
            result |= {"task_loss": _mean(tasks, "loss", "n_tokens"), "tasks": _lists(tasks)}
            result |= {name: _mean(tasks, name, "n_twins") for name in ("preference", "margin")}
        return result | {"eval_seconds": round(time.perf_counter() - started, 3)}

    def base_key(self, model: str, settings: dict) -> str:
        """The key of the result of an untuned model."""
        names = [settings[name] for name in ("template", "dtype")]
        content = self.folder.read_content()
        return "base-" + digest(models.fingerprint(model), names, content["heldout"], content["tasks"])

    def tidy(self, key: str) -> None:
        """Remove the model and the samples of a finished cell, unless models are kept."""
        if not self.keep_models:
            folder = self.folder.run(key)
            shutil.rmtree(folder.model, ignore_errors=True)
            folder.samples_file.unlink(missing_ok=True)


def _mean(tasks: pd.DataFrame, column: str, weight: str) -> float:
    """The weighted mean of a column over the tasks that have it."""
    own = tasks[tasks[column].notna()]
    return float(np.average(own[column].astype(float), weights=own[weight]))


def _lists(table: pd.DataFrame) -> dict[str, list]:
    """The columns as lists that JSON can encode; missing numbers are None."""
    return table.astype(object).where(table.notna(), None).to_dict("list")

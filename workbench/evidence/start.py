"""`wb.sweep`: check and plan a sweep, write it to its folder, and start it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import datasets

from ..core import tables
from ..core.errors import UserError
from ..core.store import digest
from ..evaluation.quick import HELD_OUT
from ..training import TrainingSettings
from ..training.lifecycle import lasting_name
from ..training.settings import settings_of
from ..training.trainable import check_hardware
from . import work
from .folder import SweepFolder
from .plan import Design, plan_cells
from .run import Sweep


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
        tasks: "held-out" (the held-out rows), "bundled", "humaneval", "humaneval+", "mbpp" or "mbpp+", a
            table with `id`, `instruction`, `response` and `check`, or several of these: also measure
            `task_loss`, `preference` and `margin`, as `wb.evaluate` does. Without them no ratio is named as
            better than all rows.
        selection: any of `max_ifd`, `by`, `lower` and `upper` of `wb.select`, for the strategies that read
            them, e.g. {"by": "my_score"}.
        settings: `TrainingSettings`, or give their fields as keywords, as in `wb.finetune`.
        keep_models: keep the trained model of each cell, in `output_dir/runs/KEY/model`.
        detached: run in a process of its own, which continues when the kernel ends; else in a thread.

    Raises:
        UserError: a parameter or table is not usable, or a sweep with other cells is active in the folder.
    """
    if settings is not None and training:
        raise UserError(f"settings and {next(iter(training))}= are two ways to set the training; give one.")
    listed = [] if tasks is None else list(tasks) if isinstance(tasks, list | tuple) else [tasks]
    design = Design(
        ratios=ratios,
        strategies=strategies,
        seeds=seeds,
        budget=budget,
        learning_rates=learning_rates,
        models=models or (str(model),),
        tasks=[task for task in listed if isinstance(task, str)],
    )
    settings = settings or settings_of(training)
    own_tasks = [task for task in listed if not isinstance(task, str)]
    prepare(ds, heldout, output_dir, design, settings, own_tasks, selection, keep_models)
    return Sweep(output_dir).resume(detached)


def prepare(
    ds: datasets.Dataset,
    heldout: datasets.Dataset,
    output_dir: str | Path,
    design: Design,
    settings: TrainingSettings,
    own_tasks: Sequence[datasets.Dataset] = (),
    selection: Mapping | None = None,
    keep_models: bool = False,
) -> SweepFolder:
    """Check the arguments of `sweep` and write all that the sweep needs to its folder, without starting it.

    `own_tasks` are tables, in addition to `design.tasks`.
    """
    check_hardware(settings)
    design = replace(design, models=[lasting_name(name) for name in design.models])
    folder = SweepFolder(Path(output_dir))
    content = _write_tables(folder, ds, heldout, design.tasks, own_tasks)
    measured_on = digest(content["heldout"], content["tasks"])
    plan = plan_cells(ds, design, settings, measured_on, selection or {})
    if work.is_active(folder):
        if folder.read_content()["cells"] != json.loads(json.dumps([asdict(cell) for cell in plan.cells])):
            raise UserError(
                f"output_dir={str(output_dir)!r} holds a sweep with other cells that is still active; "
                "wait() for it, stop() it, or choose another folder."
            )
        return folder
    content |= {"design": asdict(design), "settings": asdict(settings), "keep_models": keep_models}
    folder.write_plan(plan, content)
    return folder


def _write_tables(folder: SweepFolder, ds, heldout, tasks: Sequence[str], own_tasks) -> dict:
    """Check the tables and write them to the folder; returns their names."""
    tables.require(ds, ["instruction", "response"], "wb.load")
    tables.require(heldout, ["instruction", "response"], "wb.load")
    if not len(heldout):
        raise UserError("heldout has no rows; set some rows of the data aside.")
    if "id" not in heldout.column_names:
        ids = list(map(str, range(len(heldout))))
        heldout = tables.with_columns(heldout, {"id": ids}, {"id": tables.TEXT})
    own_tasks = [*own_tasks, *([heldout] if HELD_OUT in tasks else [])]
    for table in own_tasks:
        tables.require(table, ["id", "instruction", "response", "check"], "assertions for each row")
    folder.path.mkdir(parents=True, exist_ok=True)
    return {
        "pool": folder.write_table("pool", ds),
        "heldout": folder.write_table("heldout", heldout),
        "tasks": [
            *(name for name in tasks if name != HELD_OUT),
            *(folder.write_table("tasks", table) for table in own_tasks),
        ],
    }

"""Train on several GPUs: prepare a folder and its `accelerate launch` command, and run one process of it.

Each process runs this module on its share of the batches; the first one writes the results.
"""

import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import torch
import yaml

from ..core.errors import UserError
from ..core.folders import new_folder
from ..lm import models
from ..lm.devices import dtype_name
from ..lm.sharding import FSDP_CONFIG
from ..training import checkpoints, failures, processes
from ..training.folder import RunFolder, recorder
from ..training.job import stop_signals
from ..training.loop import train
from ..training.schedule import samples_of
from ..training.settings import TrainingSettings
from ..training.trainable import check_hardware, check_memory
from .recipe import Recipe

_MIXED = {"bfloat16": "bf16", "float16": "fp16"}  # accelerate's names


def prepare(recipe: Recipe, folder: str | Path, rows: str, gpus: int | None = None) -> str:
    """Write the recipe, accelerate's configuration and `launch.sh` to `folder`; returns the command to run.

    `rows` names the training rows, usually a selection: anything that `wb.load` takes, used whole. With
    another number of `gpus` than the recipe's, accumulation changes so that a step sees as many samples. Loss
    and weights are those of one process.

    Raises UserError if `folder` is not empty, if the batches of a step cannot be shared evenly, or if the
    recipe sets `eval_steps`, QLoRA or one GPU of several, which several processes do not support.
    """
    folder = Path(folder).resolve()
    recipe = recipe.on(gpus or recipe.gpus)
    if recipe.training.eval_steps is not None:
        raise UserError(
            f"eval_steps={recipe.training.eval_steps} is not supported with `launch`; remove it from the "
            "recipe and evaluate the run when it is done."
        )
    if recipe.training.method == "qlora" and recipe.gpus > 1:
        raise UserError(f"method='qlora' runs on one GPU, not on gpus={recipe.gpus}; use method='lora'.")
    if recipe.gpus > 1 and ":" in recipe.training.device:
        raise UserError(
            f"device={recipe.training.device!r} names one GPU, and gpus={recipe.gpus} processes take one "
            "each; use device='cuda'."
        )
    # The names of columns belong to the recipe's own data.
    recipe = recipe if str(rows) == recipe.data else recipe.of_data(str(rows))
    recipe = replace(recipe, data=_absolute(rows), model=_absolute(recipe.model))
    command = shlex.join(
        [
            "accelerate",
            "launch",
            "--config_file",
            str(folder / "accelerate.yaml"),
            "-m",
            "workbench.study.launch",
        ]
    )
    command = f"{command} {shlex.quote(str(folder))}"
    with new_folder(folder) as scratch:
        recipe.to_yaml(scratch / "recipe.yaml")
        (scratch / "accelerate.yaml").write_text(yaml.safe_dump(accelerate_config(recipe), sort_keys=False))
        script = f'exec {command} "$@"\n'
        (scratch / "launch.sh").write_text(
            f"#!/bin/sh\n# Interrupted? Run it again to continue from the last checkpoint.\n{script}"
        )
        (scratch / "launch.sh").chmod(0o755)
    return command


def _absolute(name: str) -> str:
    """`name` as an absolute path if it is a path that exists, else unchanged."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def accelerate_config(recipe: Recipe) -> dict:
    """The configuration for `accelerate launch --config_file`.

    FSDP 2 on several GPUs, which shards weights, gradients and optimizer state layer by layer; plain data
    parallelism on CPUs.
    """
    on_cpu = recipe.training.device == "cpu"
    config = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU" if on_cpu or recipe.gpus == 1 else "FSDP",
        "num_machines": 1,
        "num_processes": recipe.gpus,
        "machine_rank": 0,
        "mixed_precision": _mixed_precision(recipe.training),
        "use_cpu": on_cpu,
    }
    if config["distributed_type"] == "FSDP":
        config["fsdp_config"] = dict(FSDP_CONFIG)
    return config


def _mixed_precision(settings: TrainingSettings) -> str:
    """accelerate's name of the dtype in which the processes multiply.

    "no" if that is "auto" and depends on GPUs that are not here; each process then chooses it for itself.
    """
    if settings.dtype != "auto":
        return _MIXED.get(settings.dtype, "no")
    if settings.device != "cpu" and not torch.cuda.is_available():
        return "no"
    return _MIXED.get(dtype_name("auto", settings.device, training=True), "no")


def main(arguments: list[str]) -> None:
    """Train as one of the processes that `accelerate launch` starts on a folder written by `prepare`.

    Continues from the last checkpoint in the folder, if there is one. On SIGTERM, which schedulers send
    before they reclaim a machine, and on a stop that `Run.stop` requests, all processes write a checkpoint
    and end.
    """
    from accelerate import PartialState

    folder = RunFolder(Path(arguments[0]), echo=True)
    recipe = Recipe.from_yaml(folder.path / "recipe.yaml")
    check_hardware(recipe.training)
    if folder.state_file.exists() and folder.read()["status"] == "done":
        print(f"{folder.path}: already done")
        return
    state = PartialState(cpu=recipe.training.device == "cpu")  # also assigns one GPU per process
    last = checkpoints.newest(folder.checkpoints)
    if state.is_main_process:
        _begin(folder, recipe)
    state.wait_for_everyone()
    with processes.heartbeat(folder.state_file) if state.is_main_process else nullcontext():
        try:
            summary = _train(folder, recipe, state, last)
        except Exception as error:
            _record_failure(folder, recipe, error, state.process_index)
            raise
        if state.is_main_process:
            folder.update(status="stopped" if summary["stopped"] else "done", summary=summary)
    state.destroy_process_group()


def _begin(folder: RunFolder, recipe: Recipe) -> None:
    """Mark the run as running, by this process and without an error, before anything can fail."""
    folder.stop_file.unlink(missing_ok=True)
    folder.write(
        {
            "status": "running",
            "error": None,
            "detached": False,
            "process": processes.identity(),
            "model": recipe.model,
            "settings": asdict(recipe.training),
            "summary": {"processes": recipe.gpus},
        }
    )


def _train(folder: RunFolder, recipe: Recipe, state, last: Path | None) -> dict:
    """Train from the checkpoint `last` on this process's share of the batches; returns the summary.

    The main process records the history, which continues from that of `last`.
    """
    with state.main_process_first():  # downloads once; the others read the cache
        ds = recipe.load()
        models.resolve(recipe.model)
    check_memory(recipe.model, recipe.training, recipe.gpus)
    samples, summary = samples_of(ds, recipe.model, recipe.training)
    summary["processes"] = recipe.gpus
    record: Callable[[dict], None] = lambda entry: None  # noqa: E731
    if state.is_main_process:
        folder.update(summary=summary)
        record = recorder(folder, folder.keep_history(checkpoints.step_of(last) if last else 0))
    with stop_signals() as caught:
        outcome = train(
            recipe.model,
            samples,
            recipe.training,
            folder.path,
            on_record=record,
            should_stop=lambda: processes.any_process(bool(caught) or folder.stop_file.exists()),
            checkpoint=last,
        )
    return summary | outcome


def _record_failure(folder: RunFolder, recipe: Recipe, error: Exception, process: int) -> None:
    """Write why the run failed. The first process that fails says it; others fail because of that one."""
    if folder.read()["status"] == "failed":
        return
    text = failures.describe(error, recipe.training, folder)
    if recipe.gpus > 1:
        text = f"Process {process} of {recipe.gpus}: {text}"
    folder.update(status="failed", error=text)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"workbench: {error}")

"""Training on several GPUs: a folder with all that it needs, the command to start it, and what that runs.

Each process of `accelerate launch` runs this module: it takes its share of the batches, and the first writes.
"""

import shlex
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from .. import data
from ..core.errors import UserError
from ..core.folders import new_folder
from ..lm import models
from ..training import checkpoints, failures, processes
from ..training.folder import RunFolder, recorder
from ..training.loop import train
from ..training.schedule import samples_of
from ..training.trainable import check_hardware
from .recipe import Recipe

_MIXED = {"bfloat16": "bf16", "float16": "fp16"}  # accelerate's names


def prepare(recipe: Recipe, folder: str | Path, rows: str, gpus: int | None = None) -> str:
    """Write recipe, accelerate's configuration and `launch.sh` into the new `folder`; return the command.

    `rows` is what to train on, all of it: a selection, as anything that `wb.load` takes. With another number
    of `gpus` than the recipe's, accumulation changes so that a step sees as many samples.
    """
    folder = Path(folder).resolve()
    recipe = recipe.on(gpus or recipe.gpus)
    if recipe.training.eval_steps is not None:
        raise UserError(
            f"eval_steps={recipe.training.eval_steps} is for trainings of one process; take it out of the "
            "recipe and evaluate the run when it is done."
        )
    if recipe.training.method == "qlora" and recipe.gpus > 1:
        raise UserError(f"method='qlora' is for one GPU and not for gpus={recipe.gpus}; use method='lora'.")
    recipe = replace(recipe, data=_lasting(rows), model=_lasting(recipe.model))
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
        (scratch / "launch.sh").write_text(
            f'#!/bin/sh\n# --resume goes on from a checkpoint\nexec {command} "$@"\n'
        )
        (scratch / "launch.sh").chmod(0o755)
    return command


def _lasting(name: str) -> str:
    """`name`, if it is a path as one that holds in other folders too."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def accelerate_config(recipe: Recipe) -> dict:
    """What `accelerate launch --config_file` reads: fully sharded on GPUs, plain data parallel on CPUs.

    FSDP 2 shards weights, gradients and optimizer state layer by layer.
    """
    on_cpu = recipe.training.device == "cpu"
    config = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU" if on_cpu or recipe.gpus == 1 else "FSDP",
        "num_machines": 1,
        "num_processes": recipe.gpus,
        "machine_rank": 0,
        "mixed_precision": _MIXED.get(recipe.training.dtype, "no"),  # "auto" is known on the GPU only
        "use_cpu": on_cpu,
    }
    if config["distributed_type"] == "FSDP":
        config["fsdp_config"] = {
            "fsdp_version": 2,
            "fsdp_reshard_after_forward": True,  # full shard
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_state_dict_type": "FULL_STATE_DICT",
            "fsdp_cpu_ram_efficient_loading": False,  # every process tests that its model isolates samples
            "fsdp_offload_params": False,
        }
    return config


def main(arguments: list[str]) -> None:
    """Train as one process of those that `accelerate launch` started on the folder that `prepare` wrote.

    SIGTERM, which clusters send before they take a machine back, ends all of them after a checkpoint.
    """
    from accelerate import PartialState

    folder, resume = RunFolder(Path(arguments[0]), echo=True), "--resume" in arguments[1:]
    recipe = Recipe.from_yaml(folder.path / "recipe.yaml")
    check_hardware(recipe.training)
    state = PartialState(cpu=recipe.training.device == "cpu")  # also gives each process a GPU of its own
    with state.main_process_first():  # which fetches what the others then find
        ds = data.load(recipe.data)
        models.resolve(recipe.model)
    samples, summary = samples_of(ds, recipe.model, recipe.training)
    summary["processes"] = recipe.gpus
    last = checkpoints.newest(folder.checkpoints) if resume else None
    record = _begin(folder, recipe, summary, last) if state.is_main_process else lambda found: None
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        done = train(
            recipe.model,
            samples,
            recipe.training,
            folder.path,
            on_record=record,
            should_stop=lambda: processes.any_process(stop.is_set()),
            checkpoint=last,
        )
    except Exception as error:
        if state.is_main_process:
            folder.update(status="failed", error=failures.describe(error, recipe.training, folder))
        raise
    if state.is_main_process:
        folder.update(status="stopped" if done["stopped"] else "done", summary=summary | done)
    state.destroy_process_group()


def _begin(folder: RunFolder, recipe: Recipe, summary: dict, last: Path | None) -> Callable[[dict], None]:
    """Write the run's files as they are before its first step; returns what adds a record to them."""
    folder.write(
        {
            "status": "running",
            "error": None,
            "detached": False,
            "process": processes.identity(),
            "model": recipe.model,
            "settings": asdict(recipe.training),
            "summary": summary,
        }
    )
    return recorder(folder, folder.keep_history(checkpoints.step_of(last) if last else 0))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"workbench: {error}")

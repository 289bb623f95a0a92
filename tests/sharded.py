"""One of two processes that train a toy sharded, as GPUs would, on CPUs with gloo.

    python tests/sharded.py RANK PORT JOBS.json

JOBS.json is a list of {model, samples, settings, folder, checkpoint, stop_after}. All but the device is
as on GPUs: accelerate itself shards on accelerators only, so its choice is changed here.
"""

import json
import os
import sys
from pathlib import Path

rank, port, jobs = sys.argv[1:]
os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}

from accelerate import PartialState  # noqa: E402
from accelerate.state import AcceleratorState  # noqa: E402
from accelerate.utils import DistributedType  # noqa: E402
from torch.distributed.tensor import DTensor  # noqa: E402

from workbench.lm import sharding  # noqa: E402
from workbench.lm.prompts import Sample  # noqa: E402
from workbench.training import TrainingSettings  # noqa: E402
from workbench.training.loop import train  # noqa: E402

initialize = AcceleratorState.__init__


def initialize_sharded(self, *args, fsdp_plugin=None, **kwargs):
    initialize(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin


AcceleratorState.__init__ = initialize_sharded
sharding.is_sharded = lambda device: True
whole, shards = sharding.whole, []


def noticed(state, keep=True):
    shards.extend(value for value in state.values() if isinstance(value, DTensor))
    return whole(state, keep)


sharding.whole = noticed


def run(job: dict) -> None:
    folder, history = Path(job["folder"]), []
    shards.clear()
    train(
        job["model"],
        [Sample(tuple(ids), first) for ids, first in job["samples"]],
        TrainingSettings(**job["settings"]),
        folder,
        on_record=history.append,
        should_stop=lambda: len(history) == job.get("stop_after", 0) - 1,
        checkpoint=Path(job["checkpoint"]) if job.get("checkpoint") else None,
    )
    if rank == "0":
        (folder / "history.json").write_text(json.dumps({"history": history, "sharded": bool(shards)}))


state = PartialState(cpu=True)
for job in json.loads(Path(jobs).read_text()):
    run(job)
state.destroy_process_group()

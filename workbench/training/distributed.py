"""One training shared by several processes, exact: the same loss and the same weights as one process gives.

Each process runs its share of the planned batches. The Trainer divides the summed loss by the token count of
all processes' batches of a step, so that it does not matter who runs which.
"""

from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import Dataset

from ..lm.prompts import Sample
from .schedule import Schedule


class Rounds(Dataset):
    """`schedule` in rounds of `world` batches, one for each process: process r runs items r, r + world, ...

    Processes wait for each other in every pass, so the last round is filled up with idle batches, which
    predict nothing and so count for nothing.
    """

    def __init__(self, schedule: Schedule, world: int):
        self.schedule = schedule
        self.length = -(-len(schedule) // world) * world

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, t: int) -> list[list[Sample]]:
        if t < len(self.schedule):
            return self.schedule[t]
        ids = self.schedule[0][0][0].input_ids[:2]
        return [[Sample(ids, first_target=len(ids))]]


def agreed(wish: bool) -> bool:
    """Whether any process has the wish: all must stop after the same step."""
    if not dist.is_initialized():
        return wish
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    found = torch.tensor(int(wish), device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return bool(found)


def wait() -> None:
    """Return when all processes are here."""
    if dist.is_initialized():
        dist.barrier()


def save(trainer, folder: Path) -> None:
    """Write the trained model, its shards put together, from the first process."""
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        trainer.model.save_pretrained(folder, state_dict=state)

"""Broken twins of all HumanEval+ and MBPP+ tasks: seconds, number of twins, share of tasks with twins.

    python tests/benchmarks/twins.py FOLDER [--per-task N]

FOLDER holds HumanEvalPlus-v0.1.10.jsonl.gz and MbppPlus-v0.2.0.jsonl.gz. The cache starts empty, so the
seconds include the reference answers of both benchmarks; the second call reads the stored twins. "others" are
the core-seconds that other processes used meanwhile: a large number means that the machine was not quiet and
the times are not reliable.
"""

import argparse
import os
import tempfile
from collections import Counter
from pathlib import Path

from judging import timed

import workbench as wb
from workbench.core import tables
from workbench.core.cpus import cpu_count

FILES = {
    "humaneval+": ("HUMANEVAL_OVERRIDE_PATH", "HumanEvalPlus-v0.1.10.jsonl.gz"),
    "mbpp+": ("MBPP_OVERRIDE_PATH", "MbppPlus-v0.2.0.jsonl.gz"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-task", type=int, default=6, help="the largest number of twins of a task")
    args = parser.parse_args()
    for variable, name in FILES.values():
        os.environ[variable] = str((args.folder / name).resolve())
    with tempfile.TemporaryDirectory() as cache:
        os.environ["WORKBENCH_CACHE"] = cache
        seconds = sum(measured(name, args.per_task) for name in FILES)
    print(f"together: {seconds:.0f} s on {cpu_count()} cores")


def measured(name: str, per_task: int) -> float:
    """Make the twins of one benchmark twice and print their numbers; returns the first time's seconds."""
    seconds, others, twins = timed(lambda: wb.twins(name, per_task=per_task))
    again, _, stored = timed(lambda: wb.twins(name, per_task=per_task))
    assert stored.to_dict() == twins.to_dict()
    note = tables.noted(twins, "twins")
    share = len(set(twins["id"][:])) / note["tasks"]
    print(
        f"{name}: {seconds:.0f} s (others {others:.0f} core-s), stored {again:.1f} s; {len(twins)} twins, "
        f"{share:.1%} of {note['tasks']} tasks have twins",
        flush=True,
    )
    kinds = Counter(twins["kind"][:]).most_common()
    print("  kinds: " + ", ".join(f"{n} {kind}" for kind, n in kinds))
    for reason, n in Counter(note["without"].values()).most_common():
        print(f"  {n} tasks without: {reason}")
    return seconds


if __name__ == "__main__":
    main()

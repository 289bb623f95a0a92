"""The CPUs that this process may use."""

import math
import os
from contextlib import suppress
from pathlib import Path


def cpu_count(root: Path = Path("/")) -> int:
    """Return the number of CPUs that this process may use, at least 1.

    This can be fewer than the machine has: a process may be pinned to some of them (its affinity), and a
    container's cgroup may limit its CPU time. A limit of 1.5 CPUs counts as 2. /proc and /sys are read below
    `root`.
    """
    counts = [_with_affinity()]
    counts += [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min(counts))


def _with_affinity() -> int:
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> list[float]:
    """CPUs' worth of time that each cgroup of this process grants (version 2, or version 1's `cpu`)."""
    quotas: list[float] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            mount, read = root / "sys/fs/cgroup", _quota_v2
        elif "cpu" in controllers.split(","):
            mount, read = root / "sys/fs/cgroup/cpu", _quota_v1
        else:
            continue
        # A limit holds for all groups below. Inside a container, its own group is mounted as the top.
        folder = mount / group.lstrip("/")
        while folder.is_relative_to(mount):
            quotas += read(folder)
            folder = folder.parent
    return quotas


def _quota_v2(folder: Path) -> list[float]:
    with suppress(ValueError, ZeroDivisionError):  # "max 100000": no limit
        quota, period = _read(folder / "cpu.max").split()
        return [int(quota) / int(period)]
    return []


def _quota_v1(folder: Path) -> list[float]:
    with suppress(ValueError, ZeroDivisionError):
        quota = int(_read(folder / "cpu.cfs_quota_us"))
        return [quota / int(_read(folder / "cpu.cfs_period_us"))] if quota > 0 else []  # -1: no limit
    return []


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # not Linux, or no such limit
        return ""

"""How many CPUs a process may use: those it is pinned to, and the share that its container grants."""

import os
from pathlib import Path

import pytest

from workbench.core import cpus


@pytest.fixture(autouse=True)
def _sixteen_cpus(monkeypatch):
    monkeypatch.setattr(cpus, "_with_affinity", lambda: 16)


def write(root, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


V2, V1 = "0::{}\n", "3:cpuset:/\n4:cpu,cpuacct:{}\n1:name=systemd:/x\n"


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 16),
        ({"proc/self/cgroup": V2.format("/"), "sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        ({"proc/self/cgroup": V2.format("/"), "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": V2.format("/"), "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": V2.format("/"), "sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ({"proc/self/cgroup": V2.format("/"), "sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 16),
        ({"proc/self/cgroup": V2.format("/a/b"), "sys/fs/cgroup/a/cpu.max": "300000 100000\n"}, 3),
        (
            {
                "proc/self/cgroup": V2.format("/a/b"),
                "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "800000 100000\n",
            },
            3,
        ),
        # The group has a name on the host and is the top of what the container sees.
        ({"proc/self/cgroup": V2.format("/docker/1f"), "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": V2.format("/"), "sys/fs/cgroup/cpu.max": "broken"}, 16),
        (
            {
                "proc/self/cgroup": V1.format("/job"),
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "500000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            },
            5,
        ),
        (
            {
                "proc/self/cgroup": V1.format("/job"),
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
    ],
)
def test_the_smallest_limit_counts(tmp_path, files, count):
    write(tmp_path, files)
    assert cpus.cpu_count(tmp_path) == count


def test_affinity_counts(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 7}, raising=False)
    assert cpus.cpu_count(tmp_path) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.cpu_count(tmp_path) == 1


def test_nothing_else_counts_cpus():
    """Python's own count ignores affinity (before 3.13) and containers."""
    package = Path(cpus.__file__).parents[1]
    modules = {path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")}
    assert [name for name, text in modules.items() if "os.cpu_count" in text] == ["core/cpus.py"]

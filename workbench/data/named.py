"""Datasets of the hub with a short name: the two that arXiv 2504.12687 trains on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Named:
    """A dataset of the hub, as its card describes it. `leaks` is what is known about benchmarks in it."""

    hub_id: str
    columns: tuple[str, str]
    rows: str
    size: str
    licence: str
    leaks: str

    def __str__(self) -> str:
        columns = " and ".join(self.columns)
        return (
            f"{self.hub_id}, {self.rows} rows, {self.size}, columns {columns}, licence {self.licence}; "
            f"leaks: {self.leaks}"
        )


NAMED = {
    "oss-instruct": Named(
        hub_id="ise-uiuc/Magicoder-OSS-Instruct-75K",
        columns=("problem", "solution"),
        rows="about 75,200",
        size="203 MB",
        licence="MIT",
        leaks="its file is named decontaminated; check with wb.inspect",
    ),
    "evol-instruct": Named(
        hub_id="nickrosh/Evol-Instruct-Code-80k-v1",
        columns=("instruction", "output"),
        rows="about 78,300",
        size="121 MB",
        licence="CC BY-NC-SA 4.0 (not for commercial use)",
        leaks="not removed by its authors, and datasets of the same kind leak: 29 of HumanEval's 164 tasks "
        "are reported in evol-codealpaca-v1, 82 in Magicoder-Evol-Instruct-110K; check with wb.inspect",
    ),
}


def named(source: object) -> Named | None:
    """Return the dataset with the short name `source`, unless a file or folder has that name."""
    if isinstance(source, str) and source in NAMED and not Path(source).exists():
        return NAMED[source]
    return None

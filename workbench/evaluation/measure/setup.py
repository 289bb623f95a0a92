"""A model and what is measured of it; what the report says of both."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from ...core.errors import UserError
from ...lm.chat import TemplateRefusal
from .. import sandbox
from ..generation.answers import AnswerGenerator
from ..generation.decoding import Decoding
from ..heldout import likelihood_table
from ..samples import Sample, writable

MEASURES = ("loss", "preference", "pass")


@dataclass(frozen=True)
class Setup:
    """A model and how it generates; `trained_with` is the template of its training run, if there was one."""

    generator: AnswerGenerator
    decoding: Decoding
    template: str
    trained_with: str | None
    n_samples: int
    limit: int | None
    samples_to: Path | None
    measures: tuple[str, ...] | None
    n_twins: int
    unconfined: str | None = None  # why this machine cannot judge answers

    @property
    def has_pass(self) -> bool:
        """Whether answers are generated and judged."""
        return "pass" in (self.measures or MEASURES) and self.unconfined is None

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence on why answers are not judged, if they cannot be."""
        return () if self.unconfined is None else (f"pass was not measured: {self.unconfined}",)


def without_verdicts(ids: list[str]) -> pd.DataFrame:
    """The `tasks` of a report in which no answers are judged."""
    return pd.DataFrame({"task_id": ids, "base": None, "plus": None})


def refusal_problems(ids: Sequence[str], prompts: Sequence[list[int] | TemplateRefusal]) -> tuple[str, ...]:
    """A sentence for each task whose prompt the chat template refuses."""
    return tuple(
        f"{task_id}: not measured, {prompt.reason}"
        for task_id, prompt in zip(ids, prompts, strict=True)
        if isinstance(prompt, TemplateRefusal)
    )


def add_likelihoods(setup: Setup, fields: dict, references: dict, twins: list) -> None:
    """Add measures to the `tasks` of the report's `fields`, and its `loss_per_token`."""
    if "preference" in setup.measures and not twins:
        raise UserError("measures: no reference solution has a broken twin; wb.twins gives the reasons.")
    table = likelihood_table(setup.generator.model, references, twins)
    if "loss" in setup.measures:
        scored = table[table["n_tokens"] > 0]
        n_tokens = scored["n_tokens"].sum()
        if n_tokens:
            fields["loss_per_token"] = float((scored["loss"] * scored["n_tokens"]).sum() / n_tokens)
    else:
        table = table.drop(columns=["loss", "n_tokens"])
    ids = fields["tasks"]["task_id"].astype(str)
    fields["tasks"] = fields["tasks"].join(table.reindex(ids).reset_index(drop=True))


def write_samples(samples: list[Sample], path: Path) -> None:
    """Write a samples file in EvalPlus's format."""
    lines = [
        json.dumps({"task_id": sample.task_id, "solution": writable(sample.code)}) + "\n"
        for sample in samples
    ]
    path.write_text("".join(lines), encoding="utf-8")


def generation_versions(setup: Setup, template: str) -> dict[str, str]:
    """How the answers were generated, for the report."""
    decoding, backend = setup.decoding, setup.generator.backend
    sampling = f"temperature {decoding.temperature:g}, top_p {decoding.top_p:g}, seed {decoding.seed}"
    if not setup.has_pass:
        return {"template": template}
    return {
        "template": template,
        "decoding": f"{sampling if decoding.temperature else 'greedy'}, "
        f"{decoding.max_new_tokens} new tokens at most",
        "backend": f"{backend} {version(backend)}",
    }


def versions_here() -> dict[str, str]:
    """Versions of what every evaluation depends on, for the report."""
    try:
        own = version("codetune-workbench")
    except ModuleNotFoundError:  # a source checkout that is not installed
        own = "unknown"
    level = "none" if sandbox.why_unconfined() else str(sandbox.level())  # loss needs none
    return {"workbench": own, "python": platform.python_version(), "sandbox": level}

"""Cards (README.md) of exported rows and models: front matter for the hub, provenance and statistics."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import datasets
import numpy as np
import yaml
from huggingface_hub import DatasetCardData, ModelCardData

from ..core import tables
from ..core.texts import fenced, for_markdown
from ..evaluation import EvalReport
from ..selection import Selection

_SIZES = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
_TAGS = ["code", "instruction-tuning", "codetune-workbench"]
_HASH_OF = (
    "SHA-256 over the JSON list `[instruction, response]` of each row, in a dialogue with its turns as "
    "`[[role, content], ...]` after them, one per line, UTF-8"
)


def dataset_card(
    ds: datasets.Dataset, selection: Selection | None, format: str, file: str | None, recipe: dict | None
) -> str:
    """The card of rows `ds` in `file`, None for a `save_to_disk` folder; `selection` if they are from one."""
    data = DatasetCardData(
        task_categories=["text-generation"],
        tags=_TAGS,
        size_categories=[next((name for most, name in _SIZES if len(ds) < most), "1M<n<10M")],
        configs=[{"config_name": "default", "data_files": file}] if file else None,
    )
    parts = [
        "# Instruction-response pairs",
        f"{len(ds):,} rows, written by codetune-workbench as {format!r}."
        + ("" if file else " Open the folder with `datasets.load_from_disk`."),
        f"Rows: `{tables.rows_sha256(ds)}` ({_HASH_OF}).",
        "The rows keep the licence of their source.",
    ]
    if selection is not None:
        parts += _selection(selection)
    ranked_by = [selection.settings["by"]] if selection and "by" in selection.settings else []
    parts += _scores(ds, ranked_by) + _recipe(recipe)
    return _page(data, parts)


def _selection(selection: Selection) -> list[str]:
    """How the rows were selected, and why the others were dropped."""
    report = selection.report
    parts = [
        "## Selection",
        _yaml({name: value for name, value in selection.settings.items() if value is not None}),
        f"{report.n_kept:,} of {report.n_rows:,} rows kept: {report.share_of_all:.1%} of all, "
        f"{report.share_of_eligible:.1%} of the {report.n_eligible:,} eligible.",
    ]
    if report.ranked_by:
        parts.append(f"Rows are ranked by the column `{report.ranked_by}`.")
    if selection.dropped:
        label = selection.settings.get("by", "IFD")
        counts = Counter(kind_of_reason(reason, label) for reason in selection.dropped.values())
        parts.append(
            _table(("dropped because", "rows"), [(why, f"{n:,}") for why, n in counts.most_common()])
        )
    return parts


def kind_of_reason(reason: str, score: str = "IFD") -> str:
    """A reason without its row's numbers, so equal reasons can be counted; `score` is the score's name."""
    return re.sub(rf"(?<!\w)(IFD|cluster|{re.escape(score)}) -?\d+(\.\d+)?(e[+-]\d+)?", r"\1", reason)


def _scores(ds: datasets.Dataset, ranked_by: list[str]) -> list[str]:
    """Statistics of the score columns that `ds` has, and of the columns `ranked_by`."""
    lines = []
    for name in dict.fromkeys(("ifd", "ppl_response", "ppl_conditioned", "n_tokens", *ranked_by)):
        if name not in ds.column_names:
            continue
        values = tables.array(ds, name).astype(float)
        values = values[~np.isnan(values)]
        if len(values):
            shown = [values.mean(), *np.quantile(values, [0, 0.1, 0.5, 0.9, 1])]
            lines.append((name, f"{len(values):,}", *(f"{value:.4g}" for value in shown)))
    header = ("", "rows", "mean", "least", "10 %", "median", "90 %", "most")
    return ["## Scores", _table(header, lines)] if lines else []


def model_card(state: dict, base: str, history: Sequence[dict], merged: bool, reports: Iterable[EvalReport]):
    """The card of a fine-tuned model; `state` is the run's run.json, `base` the base model's public name."""
    adapter, public = state["settings"]["method"] != "full", "/" in base and not Path(base).is_absolute()
    base = base if public else Path(base).name  # a local path means nothing elsewhere
    data = ModelCardData(
        base_model=base if public else None,
        base_model_relation=("finetune" if merged else "adapter") if public else None,
        library_name="transformers" if merged else "peft",
        pipeline_tag="text-generation",
        tags=_TAGS,
    )
    kind = "the adapter is merged into the weights" if merged and adapter else "a LoRA adapter"
    parts = [
        f"# {base.rpartition('/')[2]}, fine-tuned",
        f"`{base}` fine-tuned with codetune-workbench" + (f"; {kind}." if adapter else ", all weights."),
        f"Run: {state['status']}"
        + (f", step {history[-1]['step']} of {history[-1]['of']}." if history else "."),
    ]
    if rows := state["summary"].get("rows_sha256"):
        parts.append(f"Trained on the rows `{rows}` ({_HASH_OF}).")
    parts += ["## Settings", _yaml(state["settings"]), "## Run", _yaml(state["summary"])]
    if history:
        ends = [(entry["step"], f"{entry['loss']:.4f}") for entry in (history[0], history[-1])]
        parts += ["Loss in nats per predicted token:", _table(("step", "loss"), ends)]
    if lines := [_evaluated(report) for report in reports]:
        parts += ["## Scores", _table(("benchmark", "tasks", "base passed", "plus passed"), lines)]
    return _page(data, parts)


def _evaluated(report: EvalReport) -> tuple[str, ...]:
    def passed(tests: str) -> str:
        verdicts = report.tasks[tests].dropna()
        return f"{(verdicts == 'pass').mean():.1%}" if len(verdicts) else "-"

    return report.benchmark, f"{len(report.tasks)}", passed("base"), passed("plus")


def _recipe(recipe: dict | None) -> list[str]:
    return ["## Recipe", _yaml(recipe)] if recipe else []


def _yaml(values: dict) -> str:
    return fenced(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), "yaml")


def _table(header: Sequence[str], lines: Iterable[Sequence]) -> str:
    rows = [[for_markdown(str(cell)) for cell in row] for row in (header, *lines)]
    rows.insert(1, ["---"] * len(header))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _page(data: DatasetCardData | ModelCardData, parts: list[str]) -> str:
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"

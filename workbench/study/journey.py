"""The quickstart: one recipe from a dataset to fine-tuned models, compared on held-out rows.

All files are in one folder: `recipe.yaml`, `scores.parquet`, `selection.jsonl`, a folder for each run,
`results.json` and `report.html`. They are written stage by stage, whatever the outcome.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import datasets
import pandas as pd

from .. import packing
from ..core import tables
from ..core.errors import UserError, derived_seed
from ..core.folders import new_content
from ..evaluation import EvalReport
from ..selection import IFD, Selection, beside_random, select
from ..space.projection import project
from ..training import Run, finetune
from ..training.run import finished
from . import first_look, measuring
from .recipe import Recipe

Say = Callable[[str], None]


@dataclass(eq=False)
class Study:
    """What a quickstart measures, filled in stage by stage.

    `coverage` holds the metrics of `selection.beside_random`, `padding` the padding rate (0 to 1) of each
    packing strategy, `excluded` the number of rows that each rule leaves out of the pool, `agreement` how
    fresh scores agree with the bundled ones, `runs` and `reports` the fine-tuned models and all evaluations
    by name, `seconds` the time of each stage.
    """

    recipe: Recipe
    folder: Path
    pool: datasets.Dataset | None = None
    held_out: datasets.Dataset | None = None
    excluded: dict[str, int] = field(default_factory=dict)
    selection: Selection | None = None
    coverage: pd.DataFrame | None = None
    padding: dict[str, float] = field(default_factory=dict)
    agreement: dict | None = None
    runs: dict[str, Run] = field(default_factory=dict)
    reports: dict[str, EvalReport] = field(default_factory=dict)
    measures: tuple[str, ...] = ("loss", "preference")
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def lines(self) -> list[dict]:
        """One entry per model, the base model first: training rows, tokens, seconds and memory, and results.

        What concerns training is None for the base model. `loss` is in nats per token, `margin` in nats,
        `preference` from 0 to 1. `passed` is None if pass@1 is not measured.
        """
        lines = []
        for name, report in self.reports.items():
            run = self.runs.get(name)
            summary = run.summary if run else {}
            lines.append(
                {
                    "name": name,
                    "rows": summary.get("samples"),
                    "tokens": summary.get("tokens"),
                    "seconds": summary.get("seconds"),
                    "peak_memory_mib": summary.get("peak_memory_mib"),
                    "loss": report.loss_per_token,
                    "preference": report.preference,
                    "margin": report.margin,
                    "passed": report.n_passed if report.has_pass else None,
                    "tasks": len(report.tasks),
                }
            )
        return lines

    @property
    def comparison(self) -> pd.DataFrame:
        """`lines` as a table."""
        return pd.DataFrame(self.lines)

    @property
    def differences(self) -> pd.DataFrame:
        """The selection against every other model, paired by held-out row; see `measuring.differences`."""
        return measuring.differences(self.reports, self.recipe.strategy)

    @property
    def verdict(self) -> str:
        """One sentence about the selection and the random rows."""
        return measuring.verdict(self.differences, self.recipe.strategy)


def travel(recipe: Recipe, folder: str | Path, say: Say = print) -> Study:
    """Run all stages of `recipe` and write their results to `folder`.

    Each stage reports what it measured in one sentence to `say`. Scores, embeddings and answers are cached,
    so a second run does not compute them again. Raises UserError if the recipe leaves no rows to train on.
    """
    study = Study(recipe, Path(folder))
    study.folder.mkdir(parents=True, exist_ok=True)
    recipe.to_yaml(study.folder / "recipe.yaml")
    for stage in (_load, _score, _select, _pack, _finetune):
        start = time.perf_counter()
        stage(study, say)
        study.seconds[stage.__name__.strip("_")] = round(time.perf_counter() - start, 1)
        _write_results(study)
    return study


def _load(study: Study, say: Say) -> None:
    """Load the rows and set some of them aside for the evaluation."""
    recipe = study.recipe
    ds = recipe.load()
    study.pool, study.held_out = recipe.hold_out(ds)
    n = len(study.pool) + recipe.held_out
    say(f"{n} of {len(ds)} rows: {len(study.pool)} to select from, {recipe.held_out} held out")
    study.pool, study.excluded = leave_out(recipe, study.pool, say)


def leave_out(recipe: Recipe, ds: datasets.Dataset, say: Say) -> tuple[datasets.Dataset, dict[str, int]]:
    """Return the rows of `ds` that the recipe's `exclude` leaves, and the number of flagged rows by rule.

    Reports the numbers to `say`, and the rules that could not be checked.
    """
    if not recipe.exclude:
        return ds, {}
    rows, not_checked = recipe.without_excluded(ds)
    counts = {name: int(rows.dropped[name].notna().sum()) for name in rows.dropped if name != "id"}
    if counts:
        numbers = ", ".join(f"{n} {name}" for name, n in counts.items())
        hint = " (--keep-leaks keeps those of HumanEval and MBPP)" if counts.get("leak") else ""
        say(f"left out {len(rows.dropped)} of {len(ds)} rows to select from: {numbers}{hint}")
    for rule, reason in not_checked.items():
        say(f"rows to select from were not checked for {rule}: {reason}")
    return rows.dataset, counts


def _score(study: Study, say: Say) -> None:
    """Score, embed, cluster and project the pool."""
    recipe = study.recipe
    clustered = recipe.cluster(recipe.embed(recipe.score(study.pool)))
    study.pool = project(clustered, seed=recipe.cluster_seed)
    tables.write_parquet(study.pool, study.folder / "scores.parquet")
    status = pd.Series(study.pool["score_status"][:]).value_counts()
    say("scored: " + ", ".join(f"{n} {name}" for name, n in status.items()))
    if recipe.data == "bundled":
        study.agreement = first_look.agreement_with(study.pool, recipe.scorer, recipe.score_dtype)
    if study.agreement:
        say(_agreement_sentence(study.agreement))


def _agreement_sentence(agreement: dict) -> str:
    weights = "same weights" if agreement["same_model"] else "different weights"
    return (
        f"new scores ({agreement['dtype']}, {weights}) vs the bundled ones (float32): largest relative "
        f"difference {agreement['largest_relative_difference']:.2g}, Spearman {agreement['spearman']:.5f}"
    )


def _select(study: Study, say: Say) -> None:
    """Select the rows to train on, and measure the selection beside random draws."""
    recipe = study.recipe
    study.selection = recipe.select(study.pool)
    tables.write_jsonl(study.selection.dataset.remove_columns("embedding"), study.folder / "selection.jsonl")
    report = study.selection.report
    if not report.n_kept:
        ((name, value),) = recipe.budget.items()
        raise UserError(f"{name}={value} keeps none of the {report.n_rows} rows; raise it or lower k.")
    say(
        f"kept {report.n_kept} rows: {report.share_of_all:.1%} of all, {report.share_of_eligible:.1%} of the "
        f"{report.n_eligible} eligible; clusters lost {report.clusters_lost}, divergence "
        f"{report.divergence:.4f} bits{_ranked_by(report.ranked_by)}"
    )
    study.coverage = beside_random(study.selection).metrics
    say("coverage: " + ", ".join(_beside_random(study, name) for name in ("mmd", "radius", "distance_90")))


def _ranked_by(column: str | None) -> str:
    """The end of a sentence: the column that ranks, unless it is IFD or none does."""
    return "" if column in (None, IFD) else f"; ranked by {column}"


def _beside_random(study: Study, name: str) -> str:
    line = study.coverage.loc[name]
    low, high = line["random 5 %"], line["random 95 %"]
    return f"{name} {line[study.recipe.strategy]:.4f} (random {low:.4f} to {high:.4f})"


def _pack(study: Study, say: Say) -> None:
    """Measure the padding of every packing strategy."""
    training = study.recipe.training
    study.padding = {
        strategy: packing.pack(
            study.selection.dataset, training.max_length, strategy, batch_size=training.batch_size
        ).padding_rate
        for strategy in packing.PACKERS
    }
    say("padding: " + ", ".join(f"{name} {rate:.1%}" for name, rate in study.padding.items()))


def _finetune(study: Study, say: Say) -> None:
    """Fine-tune on each set of rows, and evaluate the base model and every run."""
    study.measures, sentence = measuring.measures_of(study.recipe, study.held_out)
    say(sentence)
    _evaluate(study, "base", study.recipe.model, say)
    for name, rows in _training_sets(study).items():
        run = study.runs[name] = _run(study, name, rows, say)
        try:
            run.wait()
        except KeyboardInterrupt:
            run.request_stop()
            raise KeyboardInterrupt(
                f"the run in {run.output_dir} is stopping; resume it with its resume()."
            ) from None
        _evaluate(study, name, run, say)


def _training_sets(study: Study) -> dict[str, datasets.Dataset]:
    """Training rows by name: the selection, as many random rows, random rows of as many tokens, and all rows
    if the recipe says so.

    The two random sets are draws of their own, so they also show how far one draw is from another.
    """
    recipe, selection = study.recipe, study.selection
    sets = {recipe.strategy: selection.dataset}
    if recipe.strategy != "random":
        n = len(selection.indices)
        sets["random"] = select(study.pool, rows=n, strategy="random", seed=recipe.seed).dataset
    if recipe.strategy not in ("random", "random-tokens"):
        tokens, seed = selection.coverage.tokens_kept, derived_seed(recipe.seed, 1)
        sets["random-tokens"] = select(study.pool, tokens=tokens, strategy="random", seed=seed).dataset
    if recipe.full:
        sets["all rows"] = study.pool
    return sets


def _run(study: Study, name: str, rows: datasets.Dataset, say: Say) -> Run:
    """The run for `name` if it has trained on these rows with these settings, else a new one."""
    recipe, folder = study.recipe, study.folder / name.replace(" ", "-")
    heldout = study.held_out if recipe.training.eval_steps else None
    settings = asdict(recipe.on(1).training)
    if run := finished(rows, recipe.model, folder, heldout, **settings):
        say(f"{name}: the run in {folder} has the same rows and settings and is not trained again")
        return run
    return finetune(rows, recipe.model, folder, overwrite=True, heldout=heldout, **settings)


def _evaluate(study: Study, name: str, model: str | Run, say: Say) -> None:
    """Evaluate `model` on the held-out rows."""
    report = measuring.evaluate_on(study.recipe, model, study.held_out, study.measures)
    study.reports[name] = report
    with new_content(study.folder / f"tasks-{name.replace(' ', '-')}.jsonl") as scratch:
        report.tasks.to_json(scratch, orient="records", lines=True)
    passed = f", {report.n_passed} of {len(report.tasks)} tasks pass" if report.has_pass else ""
    twins = ""
    if report.preference is not None:
        twins = f", preference {report.preference:.1%}, margin {report.margin:.3f} nats"
    loss = "no loss" if report.loss_per_token is None else f"loss {report.loss_per_token:.4f} nats/token"
    say(f"{name}: {loss}{twins}{passed}")


def _write_results(study: Study) -> None:
    """Write `results.json` with everything measured so far."""
    report = study.selection.report if study.selection else None
    results = {
        "rows": len(study.pool),
        "held_out": len(study.held_out),
        "excluded": study.excluded,
        "kept": report.n_kept if report else None,
        "coverage": None if study.coverage is None else study.coverage.to_dict("index"),
        "padding": study.padding,
        "agreement_with_bundled_scores": study.agreement,
        "models": study.lines,
        "differences": study.differences.to_dict("records"),
        "verdict": study.verdict if len(study.reports) > 1 else None,
        "seconds": study.seconds,
    }
    # JSON has no NaN, the loss of a model that diverged.
    results = json.loads(json.dumps(results), parse_constant=lambda name: None)
    (study.folder / "results.json").write_text(json.dumps(results, indent=2))

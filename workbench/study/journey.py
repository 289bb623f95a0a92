"""The whole method on one recipe: from a dataset to tuned models, compared on rows that none of them saw.

Everything lands in one folder: `recipe.yaml`, `scores.parquet`, `selection.jsonl`, a folder for each run,
`results.json` and `report.html`. Whatever the outcome, what was measured is what is written.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import datasets
import numpy as np
import pandas as pd

from .. import data, packing
from ..core import tables
from ..core.errors import UserError
from ..evaluation import EvalReport, evaluate
from ..lm import models
from ..selection import Selection, beside_random, select
from ..space.clustering import cluster
from ..space.embedding import embed
from ..space.projection import project
from ..training import Run, finetune
from . import first_look, scorers
from .recipe import Recipe


@dataclass
class Study:
    """What a journey measured, filled in stage by stage."""

    recipe: Recipe
    folder: Path
    pool: datasets.Dataset | None = None
    held_out: datasets.Dataset | None = None
    selection: Selection | None = None
    coverage: pd.DataFrame | None = None  # the metrics of `comparison.beside_random`
    padding: dict[str, float] = field(default_factory=dict)
    agreement: dict | None = None
    runs: dict[str, Run] = field(default_factory=dict)
    reports: dict[str, EvalReport] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def lines(self) -> list[dict]:
        """The base model and each run: what it trained on, what that took (null for the base), what it
        gave."""
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
                    "passed": report.n_passed,
                    "tasks": len(report.tasks),
                }
            )
        return lines

    @property
    def comparison(self) -> pd.DataFrame:
        """`lines` as a table."""
        return pd.DataFrame(self.lines)


def travel(recipe: Recipe, folder: str | Path, say=print) -> Study:
    """Run every stage of `recipe`, telling `say` what each found; results are in `folder` as they come."""
    study = Study(recipe, Path(folder))
    study.folder.mkdir(parents=True, exist_ok=True)
    recipe.to_yaml(study.folder / "recipe.yaml")
    for stage in (_load, _look, _choose, _pack, _tune_and_compare):
        start = time.perf_counter()
        stage(study, say)
        study.seconds[stage.__name__.strip("_")] = round(time.perf_counter() - start, 1)
        _write_results(study)
    return study


def _load(study: Study, say) -> None:
    recipe = study.recipe
    ds = data.load(recipe.data)
    order = np.random.default_rng(recipe.seed).permutation(len(ds))[: recipe.rows]
    if len(order) <= recipe.held_out:
        raise UserError(f"held_out={recipe.held_out} leaves nothing of the {len(order)} rows to train on.")
    study.held_out = ds.select(np.sort(order[: recipe.held_out]))
    study.pool = ds.select(np.sort(order[recipe.held_out :]))
    say(f"{len(order)} of {len(ds)} rows: {len(study.pool)} to choose from, {recipe.held_out} held out")


def _look(study: Study, say) -> None:
    """Score, embed, cluster and lay out the pool."""
    recipe = study.recipe
    pool = cluster(embed(recipe.score(study.pool), recipe.embedder), recipe.k, seed=recipe.cluster_seed)
    study.pool = project(pool, seed=recipe.cluster_seed)
    tables.write_parquet(study.pool, study.folder / "scores.parquet")
    status = pd.Series(study.pool["score_status"][:]).value_counts()
    say("scored: " + ", ".join(f"{n} {name}" for name, n in status.items()))
    if recipe.data == "bundled":
        study.agreement = _agreement(study)
    if study.agreement:
        say(_agreement_sentence(study.agreement))


def _agreement(study: Study) -> dict | None:
    """Scores made just now beside those that come with the dataset; null where there are too few."""
    bundled = first_look.first_look()
    known = dict(zip(bundled["id"][:], tables.array(bundled, "ifd"), strict=True))
    then = np.array([known[row] for row in study.pool["id"][:]])
    now = tables.array(study.pool, "ifd")
    found = scorers.agreement(now, then)
    if found is None:
        return None
    return asdict(found) | {
        "same_model": models.fingerprint(study.recipe.scorer)
        == first_look.settings()["scorer"]["fingerprint"],
        "dtype": models.dtype_name(study.recipe.score_dtype),
    }


def _agreement_sentence(found: dict) -> str:
    weights = "the same weights" if found["same_model"] else "other weights than the bundled scores'"
    return (
        f"fresh scores ({found['dtype']}, {weights}) beside the bundled ones (float32): largest relative "
        f"difference {found['largest_relative_difference']:.2g}, Spearman {found['spearman']:.5f}"
    )


def _choose(study: Study, say) -> None:
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
        f"{report.divergence:.4f} bits"
    )
    study.coverage = beside_random(study.selection).metrics
    say("coverage: " + ", ".join(_beside_random(study, name) for name in ("mmd", "radius", "distance_90")))


def _beside_random(study: Study, name: str) -> str:
    line = study.coverage.loc[name]
    low, high = line["random 5 %"], line["random 95 %"]
    return f"{name} {line[study.recipe.strategy]:.4f} (random {low:.4f} to {high:.4f})"


def _pack(study: Study, say) -> None:
    training = study.recipe.training
    study.padding = {
        strategy: packing.pack(
            study.selection.dataset, training.max_length, strategy, batch_size=training.batch_size
        ).padding_rate
        for strategy in packing.PACKERS
    }
    say("padding: " + ", ".join(f"{name} {rate:.1%}" for name, rate in study.padding.items()))


def _tune_and_compare(study: Study, say) -> None:
    recipe = study.recipe
    choices = {recipe.strategy: study.selection.dataset}
    if recipe.strategy != "random":
        n = len(study.selection.indices)
        choices["random"] = select(study.pool, rows=n, strategy="random", seed=recipe.seed).dataset
    if recipe.full:
        choices["all rows"] = study.pool
    _evaluate(study, "base", recipe.model, say)
    for name, rows in choices.items():
        run = finetune(
            rows,
            recipe.model,
            study.folder / name.replace(" ", "-"),
            overwrite=True,
            heldout=study.held_out if recipe.training.eval_steps else None,
            **asdict(recipe.on(1).training),  # runs here are of one process
        )
        study.runs[name] = run
        try:
            run.wait()
        except KeyboardInterrupt:
            run.request_stop()
            raise KeyboardInterrupt(f"the run in {run.output_dir} stops; its resume() goes on.") from None
        _evaluate(study, name, run, say)


def _evaluate(study: Study, name: str, model, say) -> None:
    report = evaluate(
        model,
        study.held_out,
        template=study.recipe.training.template,
        max_new_tokens=study.recipe.max_new_tokens,
        dtype=study.recipe.training.dtype,
    )
    study.reports[name] = report
    report.tasks.to_json(study.folder / f"tasks-{name.replace(' ', '-')}.jsonl", orient="records", lines=True)
    passed = f"{report.n_passed} of {len(report.tasks)} tasks pass"
    say(f"{name}: loss {report.loss_per_token:.4f} nats/token, {passed}")


def _write_results(study: Study) -> None:
    report = study.selection.report if study.selection else None
    results = {
        "rows": len(study.pool),
        "held_out": len(study.held_out),
        "kept": report.n_kept if report else None,
        "coverage": None if study.coverage is None else study.coverage.to_dict("index"),
        "padding": study.padding,
        "agreement_with_bundled_scores": study.agreement,
        "models": study.lines,
        "seconds": study.seconds,
    }
    # JSON has no NaN, which is the loss of a model that has diverged.
    results = json.loads(json.dumps(results), parse_constant=lambda name: None)
    (study.folder / "results.json").write_text(json.dumps(results, indent=2))

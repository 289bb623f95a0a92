"""The report of a study: one self-contained HTML file, and the table that the terminal prints."""

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.io

from .. import figures
from ..core import tables
from ..core.texts import escaped
from ..evidence import Sweep
from ..selection import IFD
from . import measuring
from .journey import Study
from .sweep_report import HEAD, section

_PAGE = (
    HEAD
    + """
<p>{kept}</p>
{comparison}
<p>{verdict}</p>
{differences}
<p class="note">{caution}</p>
<h2>How the selection represents all rows</h2>
{coverage}
<p class="note">{chance}</p>
{figures}
{sweep}
<details><summary>Recipe</summary><pre>{recipe}</pre></details>
</body></html>
"""
)
_CAUTION = (
    "Loss: nats per token of the held-out responses, lower is better. Preference and margin: each response "
    "beside programs with one wrong token, which fail its tests; the share that the model finds less likely, "
    "and by how many nats. Differences are paired by held-out row, with 95 % intervals over rows. They do "
    "not cover the seed of the training: repeat with several seeds before drawing conclusions."
)
_CHANCE = (
    "Random: the middle 90 % of 20 random draws of as many rows; a value outside is more than chance. "
    "Divergences: Jensen-Shannon, in bits. Radius and distance: cosine distance to the nearest kept row."
)
_COVERAGE = {
    "mean_ifd": ("mean IFD", "{:.3f}"),
    "clusters_lost": ("clusters lost", "{:.0f}"),
    "cluster_divergence": ("divergence of clusters", "{:.4f}"),
    "topic_divergence": ("of topics", "{:.4f}"),
    "language_divergence": ("of languages", "{:.4f}"),
    "length_divergence": ("of lengths", "{:.4f}"),
    "mmd": ("maximum mean discrepancy", "{:.4f}"),
    "radius": ("coverage radius", "{:.3f}"),
    "distance_90": ("90 % of rows within", "{:.3f}"),
    "near_duplicates": ("near-duplicates among the kept", "{:.1%}"),
    "mean_tokens_kept": ("mean tokens of a row", "{:.0f}"),
}


def coverage_table(study: Study) -> pd.DataFrame:
    """The selection's coverage beside random draws, as formatted text."""
    lines = []
    for name, (label, form) in _COVERAGE.items():
        line = study.coverage.loc[name].map(
            lambda value, form=form: "-" if pd.isna(value) else form.format(value)
        )
        chance = f"{line['random 5 %']} to {line['random 95 %']}"
        lines.append({"": label, study.recipe.strategy: line[study.recipe.strategy], "random": chance})
    return pd.DataFrame(lines)


def comparison_table(study: Study) -> pd.DataFrame:
    """The study's comparison of models, as formatted text."""

    def text(value, form="{:,.0f}"):
        return "-" if value is None or pd.isna(value) else form.format(value)

    return pd.DataFrame(
        {
            "": line["name"],
            "rows": text(line["rows"]),
            "tokens": text(line["tokens"]),
            "training": text(line["seconds"], "{:,.0f} s"),
            "peak memory": text(line["peak_memory_mib"], "{:,.0f} MiB"),
            "held-out loss": text(line["loss"], "{:.4f}"),
            "preference": text(line["preference"], "{:.1%}"),
            "margin": text(line["margin"], "{:.3f}"),
        }
        | ({} if line["passed"] is None else {"pass@1": f"{line['passed']} of {line['tasks']}"})
        for line in study.lines
    )


def differences_table(study: Study) -> pd.DataFrame:
    """The selection against every other model, with 95 % intervals over the held-out rows, as text."""
    lines = {}
    for row in study.differences.itertuples():
        form = measuring.FORMS[row.measure]
        low, high = form.format(row.low), form.format(row.high)
        cells = lines.setdefault(row.first, {"": f"{row.second} - {row.first}"})
        cells[row.measure] = f"{form.format(row.difference)} [{low}, {high}]"
    return pd.DataFrame(lines.values())


def write_html(study: Study) -> Path:
    """Write `report.html` to the study's folder; returns its path."""
    path = study.folder / "report.html"
    report, recipe = study.selection.report, study.recipe
    ((budget, value),) = recipe.budget.items()
    kept = (
        f"{report.n_kept:,} of {report.n_rows:,} rows kept by {recipe.strategy} at {budget} {value:g}: "
        f"{report.share_of_all:.1%} of all, {report.share_of_eligible:.1%} of the {report.n_eligible:,} "
        + (f"with an IFD below {recipe.max_ifd:g}." if recipe.by == IFD else f"with a value of {recipe.by}.")
    )
    page = _PAGE.format(
        title="Workbench study",
        kept=escaped(kept),
        comparison=comparison_table(study).to_html(index=False, border=0),
        verdict=escaped(study.verdict),
        differences=differences_table(study).to_html(index=False, border=0),
        caution=_CAUTION,
        coverage=coverage_table(study).to_html(index=False, border=0),
        chance=_CHANCE,
        figures="\n".join(_figures(study)),
        sweep=_sweep(study),
        recipe=escaped((study.folder / "recipe.yaml").read_text()),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _sweep(study: Study) -> str:
    """The section on the sweep in the study's folder `sweep`; empty without one."""
    folder = study.folder / "sweep"
    return section(Sweep(folder)) if (folder / "plan.json").exists() else ""


def _figures(study: Study):
    pool, mask = study.pool, study.selection.mask
    table = pool.select_columns(["x", "y", "cluster", "instruction"]).to_pandas()
    charts = [
        figures.complexity_histogram(tables.array(pool, "ifd"), mask),
        figures.cluster_coverage(study.selection.report.clusters),
        figures.coverage_map(table, np.asarray(mask), tables.noted(study.pool, "projection")),
        figures.padding_rates(study.padding),
        figures.loss_curves({name: run.history for name, run in study.runs.items()}),
        figures.before_after(study.comparison),
    ]
    for i, figure in enumerate(charts):
        # The first figure brings plotly.js, once for the page.
        yield plotly.io.to_html(figure, full_html=False, include_plotlyjs=i == 0)

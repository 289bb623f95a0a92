"""A study -> one HTML file that needs nothing else, and the table that the terminal shows."""

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.io

from .. import figures
from ..core import tables
from ..core.texts import escaped
from .journey import Study

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .8rem; border-bottom: 1px solid #8886; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
details {{ margin: 1rem 0; }} pre {{ overflow-x: auto; background: #8882; padding: .8rem; }}
.note {{ color: #888; }}
</style></head><body>
<h1>{title}</h1>
<p>{kept}</p>
{comparison}
<p class="note">{caution}</p>
<h2>What the selection keeps of the whole</h2>
{coverage}
<p class="note">{chance}</p>
{figures}
<details><summary>Recipe</summary><pre>{recipe}</pre></details>
</body></html>
"""
_CAUTION = (
    "One run of each, on few held-out rows: a difference of a task or two, or of a few hundredths of a nat, "
    "says little. Repeat with other seeds before believing it."
)
_CHANCE = (
    "Random: the middle 90 % of 20 random draws of as many rows; what lies outside is more than chance. "
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
    """The study's selection beside random draws, in words and rounded figures, as text."""
    shown = []
    for name, (words, form) in _COVERAGE.items():
        line = study.coverage.loc[name].map(
            lambda value, form=form: "-" if pd.isna(value) else form.format(value)
        )
        chance = f"{line['random 5 %']} to {line['random 95 %']}"
        shown.append({"": words, study.recipe.strategy: line[study.recipe.strategy], "random": chance})
    return pd.DataFrame(shown)


def comparison_table(study: Study) -> pd.DataFrame:
    """The study's comparison in words and rounded figures, as text."""

    def show(value, form="{:,.0f}"):
        return "-" if value is None or pd.isna(value) else form.format(value)

    return pd.DataFrame(
        {
            "": line["name"],
            "rows": show(line["rows"]),
            "tokens": show(line["tokens"]),
            "training": show(line["seconds"], "{:,.0f} s"),
            "peak memory": show(line["peak_memory_mib"], "{:,.0f} MiB"),
            "held-out loss": show(line["loss"], "{:.4f}"),
            "pass@1": f"{line['passed']} of {line['tasks']}",
        }
        for line in study.comparison.to_dict("records")
    )


def write_html(study: Study) -> Path:
    """Write `report.html` into the study's folder."""
    path = study.folder / "report.html"
    report, recipe = study.selection.report, study.recipe
    ((budget, value),) = recipe.budget.items()
    kept = (
        f"{report.n_kept:,} of {report.n_rows:,} rows kept by {recipe.strategy} at {budget} {value:g}: "
        f"{report.share_of_all:.1%} of all, {report.share_of_eligible:.1%} of the {report.n_eligible:,} "
        f"with an IFD below {recipe.max_ifd:g}."
    )
    page = _PAGE.format(
        title="Workbench study",
        kept=escaped(kept),
        comparison=comparison_table(study).to_html(index=False, border=0),
        caution=_CAUTION,
        coverage=coverage_table(study).to_html(index=False, border=0),
        chance=_CHANCE,
        figures="\n".join(_figures(study)),
        recipe=escaped((study.folder / "recipe.yaml").read_text()),
    )
    path.write_text(page, encoding="utf-8")
    return path


def _figures(study: Study):
    pool, mask = study.pool, study.selection.mask
    table = pool.select_columns(["x", "y", "cluster", "instruction"]).to_pandas()
    shown = [
        figures.complexity_histogram(tables.array(pool, "ifd"), mask),
        figures.cluster_coverage(study.selection.report.clusters),
        figures.coverage_map(table, np.asarray(mask), tables.noted(study.pool, "projection")),
        figures.padding_rates(study.padding),
        figures.loss_curves({name: run.history for name, run in study.runs.items()}),
        figures.before_after(study.comparison),
    ]
    for i, figure in enumerate(shown):
        # plotly.js goes into the page once, with the first figure.
        yield plotly.io.to_html(figure, full_html=False, include_plotlyjs=i == 0)

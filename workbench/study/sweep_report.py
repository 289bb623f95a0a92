"""The report of a sweep: a page of its own, and the section of a study's report."""

from pathlib import Path

import pandas as pd
import plotly.io

from .. import figures
from ..core.texts import escaped
from ..evidence import Sweep

HEAD = """<!doctype html>
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
"""
_BUDGETS = {
    "rows-epochs": "All cells see as many samples (rows x epochs).",
    "tokens": "All cells train on as many tokens.",
    "steps": "All cells train for as many optimizer steps.",
    "epochs": "All cells train for as many epochs: smaller selections train for less.",
}
_NOTE = (
    "Means over seeds with 95 % intervals, which cover seeds alone. The sentences also account for the "
    "choice of held-out rows, and correct for the number of comparisons (Holm)."
)
_MEANS = {
    "loss": ("held-out loss", "{:.4f}"),
    "task_loss": ("loss of the tasks", "{:.4f}"),
    "preference": ("preference", "{:.1%}"),
    "margin": ("margin", "{:.3f}"),
}


def means(sweep: Sweep) -> pd.DataFrame:
    """The means over seeds of each arm and ratio, as formatted text."""
    return pd.DataFrame([_line(line) for line in sweep.summary.to_dict("records")])


def _line(line: dict) -> dict:
    texts = {"model": line["model"], "learning rate": f"{line['learning_rate']:g}", "arm": line["arm"]}
    texts |= {"ratio": f"{line['ratio']:.0%}", "seeds": str(line["seeds"]), "rows": f"{line['n_rows']:,.0f}"}
    texts |= {"epochs": f"{line['epochs']:.3g}", "tokens": f"{line['tokens']:,.0f}"}
    texts["steps"] = f"{line['steps']:,.0f}"
    for measure, (label, form) in _MEANS.items():
        if pd.notna(line.get(measure)):
            texts[label] = form.format(line[measure])
            if pd.notna(line[f"{measure}_low"]):
                low, high = (form.format(line[f"{measure}_{end}"]) for end in ("low", "high"))
                texts[label] += f" [{low}, {high}]"
    return texts


def section(sweep: Sweep, plotlyjs: bool = False) -> str:
    """The verdict, figure and means of a sweep as HTML; `plotlyjs` brings the script of the figure."""
    counts = sweep.progress
    state = f"{counts['done']} of {counts['cells']} cells are finished. {_BUDGETS[sweep.budget]}"
    sentences = "".join(f"<li>{escaped(sentence)}</li>" for sentence in sweep.verdict)
    table = means(sweep).drop(columns=_constant(sweep), errors="ignore")
    chart = plotly.io.to_html(figures.sweep(sweep), full_html=False, include_plotlyjs=plotlyjs)
    return (
        f"<h2>Which rows, and how many?</h2><p>{escaped(state)}</p><ul>{sentences}</ul>{chart}"
        f'{table.to_html(index=False, border=0)}<p class="note">{_NOTE}</p>'
    )


def _constant(sweep: Sweep) -> list[str]:
    """The columns of `means` that say nothing: of a single model or learning rate."""
    table = sweep.table
    names = {"model": "model", "learning_rate": "learning rate"}
    return [label for name, label in names.items() if table[name].nunique() == 1]


def write(sweep: Sweep) -> Path:
    """Write `report.html` to the sweep's folder; returns its path."""
    path = sweep.output_dir / "report.html"
    path.write_text(HEAD.format(title="Workbench sweep") + section(sweep, True) + "</body></html>\n", "utf-8")
    return path

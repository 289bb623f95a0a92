"""A table of pass@1 with intervals: your reports beside the paper's results (arXiv 2504.12687)."""

from collections.abc import Mapping

import pandas as pd

from ...core.errors import UserError
from .. import statistics
from .report import EvalReport

SUITES = ("HumanEval", "HumanEval+", "MBPP", "MBPP+")
# The paper's percentages fit whole numbers of tasks of MBPP(+) v0.1, which has 399; v0.2.0 has 378.
_PUBLISHED_TASKS = {"HumanEval": 164, "HumanEval+": 164, "MBPP": 399, "MBPP+": 399}
_PUBLISHED_VERSION = {"HumanEval": "164 tasks", "MBPP": "v0.1, 399 tasks"}
_OSS, _EVOL = "OSS-Instruct", "Evol-Instruct"
_PUBLISHED = (
    ("DeepSeek-Coder-Base 6.7B", "", "", 47.6, 40.2, 69.2, 54.6, 52.9),
    ("CodeLlama-Python 7B", "", "", 39.0, 34.1, 58.1, 46.1, 44.3),
    ("Magicoder-DS", _OSS, "75K", 66.5, 60.4, 75.4, 61.9, 66.1),
    ("DS full", _OSS, "75K", 65.2, 61.0, 75.9, 62.4, 66.1),
    ("DS 40 %", _OSS, "30K", 68.3, 61.6, 75.9, 61.7, 66.9),
    ("DS 30 %", _OSS, "23K", 65.9, 59.1, 75.4, 62.2, 65.7),
    ("CL full", _OSS, "75K", 51.8, 46.3, 61.2, 50.9, 52.6),
    ("CL 40 %", _OSS, "30K", 54.3, 50.0, 60.4, 50.4, 53.8),
    ("CL 30 %", _OSS, "23K", 55.5, 50.6, 59.9, 48.1, 53.5),
    ("DS full", _EVOL, "78K", 67.7, 60.4, 71.4, 58.1, 64.4),
    ("DS 40 %", _EVOL, "31K", 67.1, 61.0, 72.4, 59.1, 64.9),
    ("DS 30 %", _EVOL, "23K", 67.7, 59.1, 69.9, 58.9, 63.9),
    ("WizardCoder-Python", _EVOL, "78K", 50.6, 45.1, 58.5, 49.5, 50.9),
    ("CL full", _EVOL, "78K", 53.3, 49.0, 60.7, 48.6, 52.9),
    ("CL 40 %", _EVOL, "31K", 53.0, 47.0, 60.7, 49.9, 52.7),
    ("CL 30 %", _EVOL, "23K", 53.7, 47.6, 61.7, 48.6, 52.9),
)

Reports = EvalReport | Mapping[str, EvalReport]


def published() -> pd.DataFrame:
    """The paper's performance table (arXiv 2504.12687): pass@1 in percent, with greedy decoding.

    The columns are `model`, `trained on`, `rows`, one for each suite of HumanEval and MBPP, and `average`,
    the mean of the four suites. DS is DeepSeek-Coder-Base 6.7B, CL is CodeLlama-Python 7B; "40 %" is the
    paper's selection at that ratio. Magicoder-DS and WizardCoder-Python are other authors' models, as the
    paper reports them. The paper's MBPP has 399 tasks (v0.1), today's 378 (v0.2.0): do not compare across
    versions.
    """
    return pd.DataFrame(_PUBLISHED, columns=["model", "trained on", "rows", *SUITES, "average"])


def board(reports: Reports | None = None, *, paper: bool = True) -> pd.DataFrame:
    """pass@1 of reports beside the paper's results, one row per model and suite.

    The columns are `name`, `suite` (e.g. "HumanEval+", "bundled"), `pass@1` with its 95 % Wilson interval
    `low` to `high` (all from 0 to 1), `tasks` (how many), `version` of the tasks, and `published` (True for
    the paper's rows).

    `reports` is one report, or a dict from names to reports. The paper's rows, which `paper=False` leaves
    out, cover the suites of the reports, or all four without a report. Raises UserError if `reports` holds
    anything else.
    """
    own = [row for name, report in named(reports).items() for row in _rows_of(name, report)]
    suites = dict.fromkeys(row["suite"] for row in own) or dict.fromkeys(SUITES)
    published_rows = [row for row in _published_rows() if paper and row["suite"] in suites]
    return pd.DataFrame([*published_rows, *own], columns=_COLUMNS)


_COLUMNS = ["name", "suite", "pass@1", "low", "high", "tasks", "version", "published"]


def named(reports: Reports | None) -> dict[str, EvalReport]:
    """`reports` as a dict by name; a single report is named after its model.

    Raises UserError if `reports` is neither a report nor a dict of reports.
    """
    if reports is None:
        return {}
    if isinstance(reports, EvalReport):
        return {reports.model: reports}
    if not isinstance(reports, Mapping) or not all(isinstance(r, EvalReport) for r in reports.values()):
        raise UserError(
            f"reports={type(reports).__name__} must be a report of wb.evaluate, or a dict of them by name."
        )
    return dict(reports)


def _rows_of(name: str, report: EvalReport) -> list[dict]:
    rows = []
    for suite, scores in report.scores.iterrows():
        title = report.benchmark.removesuffix("+") + ("+" if suite == "plus" else "")
        version = report.versions.get("benchmark", "").rpartition(" ")[2]  # of e.g. "HumanEval(+) v0.1.10"
        part = ", partial" if report.missing else ""
        rows.append(
            {"name": name, "suite": title, **scores[["pass@1", "low", "high"]], "tasks": int(scores["tasks"])}
            | {"version": f"{version}, {scores['tasks']:.0f} tasks{part}".lstrip(", "), "published": False}
        )
    return rows


def _published_rows() -> list[dict]:
    rows = []
    for line in published().to_dict("records"):
        name = ", ".join(filter(None, (line["model"], line["trained on"])))
        for suite in SUITES:
            n = _PUBLISHED_TASKS[suite]
            passed = round(line[suite] / 100 * n)
            low, high = statistics.wilson(passed, n)
            rows.append(
                {"name": name, "suite": suite, "pass@1": line[suite] / 100, "low": low, "high": high}
                | {"tasks": n, "version": _PUBLISHED_VERSION[suite.removesuffix("+")], "published": True}
            )
    return rows

"""HTML of the evaluation panel. The texts come from models and may be malicious: all are escaped."""

import pandas as pd

from ..core.texts import escaped
from ..evaluation import Comparison, EvalReport

# A sign for each verdict, because colour alone is not enough.
SIGNS = {"pass": "\u2713", "fail": "\u2717", "timeout": "\u2026", "error": "!", "blocked": "\u2298"}
_MAX_SHOWN = 20_000  # characters of a text
_SPACE = "\u00a0"  # a list collapses ordinary spaces
_CODE = (
    '<pre style="white-space:pre-wrap;overflow-wrap:anywhere;max-height:20em;overflow:auto;'
    "margin:.2em 0 .8em;"
    'padding:.4em .7em;border-left:3px solid rgba(136,136,136,.5);line-height:1.35">{}</pre>'
)


def line(row: dict, other: dict | None) -> str:
    """A task in the list: its name, its verdicts and, behind a bar, those of the `other` report."""
    sample = f" #{row['sample']}" if row.get("sample") else ""
    text = f"{row['task_id'] + sample:<18} {_verdicts(row)}"
    if other is not None:
        text += f" | {_verdicts(other)}"
    return text.rstrip().replace(" ", _SPACE)


def _verdicts(row: dict) -> str:
    return " ".join(f"{SIGNS.get(verdict, '?')} {verdict:<8}" for verdict in _by_suite(row).values())


def _by_suite(row: dict) -> dict[str, str]:
    """Suite -> verdict; some benchmarks have one suite only."""
    return {suite: row[suite] for suite in ("base", "plus") if not pd.isna(row.get(suite))}


def summary(report: EvalReport, against: EvalReport | None, compared: Comparison | None) -> str:
    """Model, benchmark and pass@1 with 95 % intervals; the comparison of two reports; versions and notes."""
    parts = [_scores(report)]
    if compared is not None:
        parts += [_scores(against), f"<div>{escaped(_sentence(compared))}</div>"]
    notes = "".join(f"<li>{escaped(note)}</li>" for note in report.notes if note)
    parts.append(
        f'<details style="opacity:.8"><summary>versions and notes</summary><ul>{notes}</ul></details>'
    )
    return "".join(parts)


def _scores(report: EvalReport) -> str:
    scores = [
        f"{suite} <b>{at['pass@1']:.1%}</b> ({at['low']:.1%} to {at['high']:.1%}, {at['tasks']:.0f} tasks)"
        for suite, at in report.scores.iterrows()
    ]
    name = escaped(f"{report.model} on {report.benchmark}")
    return f"<div><b>{name}</b>: pass@1 {', '.join(scores)}</div>"


def _sentence(compared: Comparison) -> str:
    return (
        f"Of the {compared.n_tasks} tasks in both reports ({compared.suite}), the first alone passes "
        f"{compared.only_first}, the second alone {compared.only_second}: McNemar p = {compared.p_value:.3g}."
    )


def detail(task_id: str, prompt: str | None, samples: dict[str, dict | None]) -> str:
    """A task with its prompt and, for each report by name, the verdicts and the program of its sample."""
    prompt = "not in the report; pass prompts={task_id: text}" if prompt is None else prompt
    parts = [f'<h4 style="margin:0 0 .3em">{escaped(task_id)}</h4>', _titled("Prompt", prompt)]
    for name, row in samples.items():
        if len(samples) > 1:
            parts.append(f'<h4 style="margin:.3em 0">{escaped(name)}</h4>')
        parts.append("<p>no sample of this task</p>" if row is None else _judged(row))
    return f'<div role="region" aria-label="task" style="line-height:1.4">{"".join(parts)}</div>'


def _judged(row: dict) -> str:
    parts = []
    for suite, verdict in _by_suite(row).items():
        parts.append(f"<div>{suite}: <b>{SIGNS.get(verdict, '?')} {escaped(verdict)}</b></div>")
        prefix = f"{suite}_" if f"{suite}_detail" in row else ""
        for title, column in (("reason", "detail"), ("fails on input", "input")):
            if isinstance(text := row.get(prefix + column), str) and text:
                parts.append(_titled(title, text))
    program = next((row[name] for name in ("solution", "completion") if isinstance(row.get(name), str)), None)
    return "".join(parts) + (_titled("Program", program) if program is not None else "")


def _titled(title: str, text: str) -> str:
    return f'<div style="opacity:.75">{title}</div>' + _CODE.format(escaped(_cut(text)))


def _cut(text: str) -> str:
    return (
        text
        if len(text) <= _MAX_SHOWN
        else f"{text[:_MAX_SHOWN]}\n... {len(text) - _MAX_SHOWN:,} more characters"
    )

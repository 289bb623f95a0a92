"""What an evaluation's panel says, as HTML. Models and attackers wrote these texts: every one is escaped."""

import pandas as pd

from ..core.texts import escaped
from ..evaluation import Comparison, EvalReport

# Told apart without colour.
SIGNS = {"pass": "\u2713", "fail": "\u2717", "timeout": "\u2026", "error": "!", "blocked": "\u2298"}
_MOST = 20_000  # characters of a text that are shown
_NARROW = "\u00a0"  # spaces of a list's line would be drawn as one
_CODE = (
    '<pre style="white-space:pre-wrap;overflow-wrap:anywhere;max-height:20em;overflow:auto;'
    "margin:.2em 0 .8em;"
    'padding:.4em .7em;border-left:3px solid rgba(136,136,136,.5);line-height:1.35">{}</pre>'
)


def line(row: dict, other: dict | None) -> str:
    """A task's line in the list: its name and verdicts; those of another report behind a bar."""
    sample = f" #{row['sample']}" if row.get("sample") else ""
    text = f"{row['task_id'] + sample:<18} {_verdicts(row)}"
    if other is not None:
        text += f" | {_verdicts(other)}"
    return text.rstrip().replace(" ", _NARROW)


def _verdicts(row: dict) -> str:
    return " ".join(f"{SIGNS.get(found, '?')} {found:<8}" for found in _found(row).values())


def _found(row: dict) -> dict[str, str]:
    """Verdicts by suite; a benchmark may have one suite only."""
    return {suite: row[suite] for suite in ("base", "plus") if not pd.isna(row.get(suite))}


def summary(report: EvalReport, against: EvalReport | None, compared: Comparison | None) -> str:
    """Title, pass@1 with intervals, how two reports compare, and what to know beside the figures."""
    parts = [_scores(report)]
    if compared is not None:
        parts += [_scores(against), f"<div>{escaped(_sentence(compared))}</div>"]
    notes = "".join(f"<li>{escaped(note)}</li>" for note in report.notes if note)
    parts.append(
        f'<details style="opacity:.8"><summary>versions and notes</summary><ul>{notes}</ul></details>'
    )
    return "".join(parts)


def _scores(report: EvalReport) -> str:
    told = [
        f"{suite} <b>{of['pass@1']:.1%}</b> ({of['low']:.1%} to {of['high']:.1%}, {of['tasks']:.0f} tasks)"
        for suite, of in report.scores.iterrows()
    ]
    name = escaped(f"{report.model} on {report.benchmark}")
    return f"<div><b>{name}</b>: pass@1 {', '.join(told)}</div>"


def _sentence(compared: Comparison) -> str:
    return (
        f"On the {compared.n_tasks} tasks of both ({compared.suite}), {compared.only_first} are passed by "
        f"the first alone and {compared.only_second} by the second alone: McNemar p = {compared.p_value:.3g}."
    )


def detail(task_id: str, prompt: str | None, found: dict[str, dict | None]) -> str:
    """A task: what was asked, and for each report (by name) the verdicts and the program."""
    asked = "the report does not hold it; give prompts={task_id: text}" if prompt is None else prompt
    parts = [f'<h4 style="margin:0 0 .3em">{escaped(task_id)}</h4>', _titled("Prompt", asked)]
    for name, row in found.items():
        if len(found) > 1:
            parts.append(f'<h4 style="margin:.3em 0">{escaped(name)}</h4>')
        parts.append("<p>no sample of this task</p>" if row is None else _judged(row))
    return f'<div role="region" aria-label="task" style="line-height:1.4">{"".join(parts)}</div>'


def _judged(row: dict) -> str:
    parts = []
    for suite, verdict in _found(row).items():
        parts.append(f"<div>{suite}: <b>{SIGNS.get(verdict, '?')} {escaped(verdict)}</b></div>")
        before = f"{suite}_" if f"{suite}_detail" in row else ""
        for title, column in (("why", "detail"), ("fails on input", "input")):
            if isinstance(said := row.get(before + column), str) and said:
                parts.append(_titled(title, said))
    written = next((row[name] for name in ("solution", "completion") if isinstance(row.get(name), str)), None)
    return "".join(parts) + (_titled("Program", written) if written is not None else "")


def _titled(title: str, text: str) -> str:
    return f'<div style="opacity:.75">{title}</div>' + _CODE.format(escaped(_cut(text)))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[:_MOST]}\n... {len(text) - _MOST:,} more characters"

"""The table of a sweep, a row for each cell, and what figures and verdicts read of it."""

import numpy as np
import pandas as pd

from ..evaluation import statistics
from .comparisons import Rows
from .folder import SweepFolder, cells_of
from .plan import Cell

_MEASURED = ("loss", "task_loss", "preference", "margin")
COLUMNS = [
    *("model", "learning_rate", "arm", "ratio", "seed", "n_rows", "epochs", "tokens", "steps"),
    *(*_MEASURED, "status", "seconds", "eval_seconds", "key"),
]


def table_of(folder: SweepFolder) -> pd.DataFrame:
    """The table of the sweep in `folder`; see `Sweep.table`."""
    current = folder.read_state().get("cell")
    lines = [_line(folder, cell, current) for cell in cells_of(folder.read_content())]
    table = pd.DataFrame(lines, columns=COLUMNS)
    return table.astype(dict.fromkeys((*_MEASURED, "seconds", "eval_seconds"), float))


def _line(folder: SweepFolder, cell: Cell, current: str | None) -> dict:
    planned = {name: getattr(cell, name) for name in COLUMNS if hasattr(cell, name)}
    result = folder.result(cell.key)
    if result is not None:
        names = (*_MEASURED, "tokens", "steps", "seconds", "eval_seconds")
        return planned | {name: result[name] for name in names} | {"status": "done"}
    status = "failed" if folder.error(cell.key) else "waiting"
    return planned | {"status": "running" if cell.key == current else status}


def rows_of(folder: SweepFolder, table: pd.DataFrame) -> Rows:
    """Loss and margin of each finished cell by held-out row and task, for `verdict`."""
    return {key: _rows(folder.result(key)) for key in table.loc[table["status"] == "done", "key"]}


def _rows(result: dict) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rows = {"loss": _pair(result["heldout"], "loss", "n_tokens")}
    if result["tasks"]:
        rows["margin"] = _pair(result["tasks"], "margin", "n_twins")
    return rows


def _pair(columns: dict[str, list], value: str, weight: str) -> tuple[np.ndarray, np.ndarray]:
    values, weights = np.array(columns[value], float), np.array(columns[weight], float)
    missing = np.isnan(values)  # a row without a response token, a task without twins
    return np.where(missing, 0, values), np.where(missing, 0, weights)


def summary_of(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each arm and ratio: the means of its finished cells, with 95 % t intervals over seeds."""
    done = table[table["status"] == "done"]
    lines = []
    for names, own in done.groupby(["model", "learning_rate", "arm", "ratio"], sort=False):
        line = dict(zip(("model", "learning_rate", "arm", "ratio"), names, strict=True))
        line |= {"seeds": len(own)} | {
            name: own[name].mean() for name in ("n_rows", "epochs", "tokens", "steps")
        }
        for measure in _MEASURED:
            if own[measure].notna().all():
                mean = statistics.mean_of_runs(own[measure])
                line |= {measure: mean.value, f"{measure}_low": mean.low, f"{measure}_high": mean.high}
        lines.append(line)
    return pd.DataFrame(lines)

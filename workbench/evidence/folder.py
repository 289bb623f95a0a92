"""The folder of a sweep. It holds everything about it, for this process and for any other.

plan.json        design, settings, and the cells in the order in which they run
NAME-HASH.*      the pool, held-out rows and tasks (Parquet), and the rows of each selection (npz)
cells/KEY.json   the result of a finished cell, or of a base model; written once
failed/KEY.txt   why a cell failed
runs/KEY/        the run of the cell that trains, and the histories of finished ones
state.json       the process that works on the sweep, and why the last one ended
sweep.log        a line for each event
stop             exists while a stop is requested
"""

import io
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq

from ..core import tables
from ..core.errors import UserError
from ..core.store import digest
from ..training.checkpoints import replace
from ..training.folder import RunFolder, append_line
from .plan import Cell, Plan


@dataclass(frozen=True)
class SweepFolder:
    """Read and write the files of one sweep. `echo=True` also prints the log."""

    path: Path
    echo: bool = False

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.json"

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def stop_file(self) -> Path:
        return self.path / "stop"

    @property
    def log_file(self) -> Path:
        return self.path / "sweep.log"

    def run(self, key: str) -> RunFolder:
        """The folder of a cell's run."""
        return RunFolder(self.path / "runs" / key)

    def write_plan(self, plan: Plan, content: dict) -> None:
        """Write plan.json: `content`, and the cells of `plan`, whose rows go to a file of their own."""
        rows = io.BytesIO()
        np.savez_compressed(rows, **plan.rows)
        name = f"rows-{digest(*sorted(plan.rows))[:12]}.npz"
        (self.path / name).write_bytes(rows.getvalue())
        content = content | {"rows": name, "cells": [asdict(cell) for cell in plan.cells]}
        replace(self.plan_file, json.dumps(content, indent=1))

    def read_plan(self) -> tuple[dict, Plan]:
        """Return plan.json, and its cells with their rows. Raises UserError if the folder holds no sweep."""
        content = self.read_content()
        with np.load(self.path / content["rows"]) as rows:
            return content, Plan(cells_of(content), dict(rows))

    def read_content(self) -> dict:
        """Return plan.json. Raises UserError if the folder holds no sweep."""
        try:
            return json.loads(self.plan_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"output_dir={str(self.path)!r} holds no sweep; start one with wb.sweep."
            ) from None

    def write_table(self, name: str, ds: datasets.Dataset) -> str:
        """Write a table, without its embeddings, to a file that is named by its content; return the name."""
        ds = ds.remove_columns([column for column in ("embedding",) if column in ds.column_names])
        content = digest(
            ds.column_names, *(json.dumps(ds[column][:], default=str) for column in ds.column_names)
        )
        file = f"{name}-{content[:12]}.parquet"
        if not (self.path / file).exists():
            tables.write_parquet(ds, self.path / file)
        return file

    def read_table(self, file: str) -> datasets.Dataset:
        return datasets.Dataset(pq.read_table(self.path / file))

    def result_file(self, key: str) -> Path:
        return self.path / "cells" / f"{key}.json"

    def result(self, key: str) -> dict | None:
        """Return the result of a finished cell, or None."""
        return _read(self.result_file(key)) if self.result_file(key).exists() else None

    def write_result(self, key: str, result: dict) -> None:
        """Write the result of a cell, complete or not at all."""
        self.result_file(key).parent.mkdir(exist_ok=True)
        replace(self.result_file(key), json.dumps(result))
        self._error_file(key).unlink(missing_ok=True)

    def _error_file(self, key: str) -> Path:
        return self.path / "failed" / f"{key}.txt"

    def error(self, key: str) -> str | None:
        """Return why a cell failed, or None."""
        with suppress(FileNotFoundError):
            return self._error_file(key).read_text(encoding="utf-8")
        return None

    def write_error(self, key: str, error: str) -> None:
        self._error_file(key).parent.mkdir(exist_ok=True)
        replace(self._error_file(key), error)

    def read_state(self) -> dict:
        """Return state.json; empty before the first start."""
        with suppress(FileNotFoundError):
            return json.loads(self.state_file.read_text(encoding="utf-8"))
        return {}

    def update_state(self, **changes) -> None:
        """Change entries of state.json."""
        replace(self.state_file, json.dumps(self.read_state() | changes))

    def log(self, text: str) -> None:
        """Append a line to the log."""
        append_line(self.log_file, text, self.echo)


def cells_of(content: dict) -> list[Cell]:
    """The cells of plan.json."""
    return [Cell(**cell) for cell in content["cells"]]


@cache
def _read(path: Path) -> dict:
    """A result, which never changes once it is written."""
    return json.loads(path.read_text(encoding="utf-8"))

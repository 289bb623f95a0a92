"""The folder of a run: all that is known of it, for this process and for any other.

run.json         settings, status, error, summary, and the process that trains
samples.parquet  what it trains on, as token ids
heldout.parquet  rows on which the loss is measured meanwhile, if there are any
history.jsonl    a line for each optimizer step
run.log          the same in words, with warnings and tracebacks
checkpoints/     to resume from; gone once the run is done
model/           the result
stop             there as long as somebody wants the run to stop
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..lm.prompts import Sample
from .checkpoints import replace

_ROOM = 2**14  # bytes that run.json takes on disk from the start, whatever it says


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, and how they are read and written. With `echo`, the log is also printed."""

    path: Path
    echo: bool = False

    @property
    def state_file(self) -> Path:
        return self.path / "run.json"

    @property
    def samples_file(self) -> Path:
        return self.path / "samples.parquet"

    @property
    def heldout_file(self) -> Path:
        return self.path / "heldout.parquet"

    @property
    def history_file(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def log_file(self) -> Path:
        return self.path / "run.log"

    @property
    def stop_file(self) -> Path:
        return self.path / "stop"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    def read(self) -> dict:
        """What run.json says."""
        for _ in range(20):
            with suppress(json.JSONDecodeError):  # amid a write on a full disk, see `write`
                return json.loads(self.state_file.read_text(encoding="utf-8"))
            time.sleep(0.05)
        return json.loads(self.state_file.read_text(encoding="utf-8"))

    def write(self, state: dict) -> None:
        """Write run.json at once; where the disk is full, over the old one, whose room it has."""
        written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = json.dumps(state | {"written": written}, indent=2).ljust(_ROOM - 1) + "\n"
        try:
            replace(self.state_file, text)
        except OSError:
            with self.state_file.open("r+", encoding="utf-8") as file:
                file.write(text)

    def update(self, **changes) -> None:
        self.write(self.read() | changes)

    def write_samples(self, samples: list[Sample]) -> None:
        columns = {
            "input_ids": pa.array([sample.input_ids for sample in samples], pa.list_(pa.int32())),
            "first_target": [sample.first_target for sample in samples],
        }
        pq.write_table(pa.table(columns), self.samples_file)

    def read_samples(self) -> list[Sample]:
        columns = pq.read_table(self.samples_file).to_pydict()
        ids, firsts = columns["input_ids"], columns["first_target"]
        return [Sample(tuple(tokens), first) for tokens, first in zip(ids, firsts, strict=True)]

    def append(self, record: dict) -> None:
        """Add a record to the history; it is on disk before any checkpoint of its step."""
        with self.history_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def keep_history(self, steps: int) -> list[dict]:
        """Forget what was done after the first `steps` steps; returns the records of those."""
        kept = [record for record in History(self.history_file).read() if record["step"] <= steps]
        replace(self.history_file, "".join(json.dumps(record) + "\n" for record in kept))
        return kept

    def log(self, text: str) -> None:
        """Add a line to the log. That it cannot be written fails nothing: what matters is in run.json."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"
        if self.echo:
            print(line, flush=True)
        with suppress(OSError), self.log_file.open("a", encoding="utf-8", errors="replace") as file:
            file.write(line + "\n")

    def tail(self, lines: int) -> list[str]:
        """The last lines of the log."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 200 * lines))
                return file.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []


class History:
    """Reads a history file that grows, and only what is new of it."""

    def __init__(self, path: Path):
        self._path = path
        self._forget()

    def _forget(self) -> None:
        self._records: list[dict] = []
        self._read_to, self._last_line = 0, b""

    def read(self) -> list[dict]:
        """All records so far. A last line that is not complete, cut off or being written, is left out."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read_to - len(self._last_line))
                if file.read(len(self._last_line)) != self._last_line:  # another file by now
                    self._forget()
                    file.seek(0)
                self._take(file.read())
        except FileNotFoundError:
            self._forget()
        return list(self._records)

    def _take(self, new: bytes) -> None:
        for line in new.splitlines(keepends=True):
            try:
                record = json.loads(line if line.endswith(b"\n") else b"")
            except ValueError:  # not complete, or what a machine that stopped amid a write has left
                return
            self._records.append(record)
            self._read_to, self._last_line = self._read_to + len(line), line


def recorder(folder: RunFolder, before: list[dict]) -> Callable[[dict], None]:
    """Writes records into `folder`, their seconds counted on from those `before`."""

    def record(found: dict) -> None:
        found["seconds"] = round(found["seconds"] + seconds_of(before), 3)
        folder.append(found)
        folder.log(sentence(found))

    return record


def seconds_of(history: list[dict]) -> float:
    """How long all steps of a history took."""
    return history[-1]["seconds"] if history else 0.0


def sentence(record: dict) -> str:
    """A record of the history in words."""
    measured = {
        "heldout_loss": "held-out loss {:.4f}",
        "pass_at_1": "pass@1 {:.1%}",
        "eval_error": "not measured: {}",
    }
    return " · ".join(
        [_progress(record)]
        + [words.format(record[name]) for name, words in measured.items() if name in record]
    )


def _progress(record: dict) -> str:
    return (
        f"step {record['step']} of {record['of']} · loss {record['loss']:.4f} · "
        f"{record['tokens_per_second']:.0f} tokens/s · peak {record['peak_memory_mib']:,} MiB"
    )

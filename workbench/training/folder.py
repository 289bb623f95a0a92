"""The folder of a run. It holds everything about the run, for this process and for any other.

run.json         settings, status, error, summary, and the process that trains
samples.parquet  the training samples as token ids
heldout.parquet  held-out rows to evaluate on during training (optional)
history.jsonl    one record per optimizer step
progress.json    how far the run is within a step; removed when the run ends
run.log          the same records as text, with warnings and tracebacks
checkpoints/     the checkpoint to resume from; removed when the run is done
model/           the trained model or adapter, with its tokenizer
stop             exists while a stop is requested
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..lm.prompts import Sample
from .checkpoints import replace

_STATE_BYTES = 2**14  # run.json is padded to this size, which reserves space for an error message


@dataclass(frozen=True)
class RunFolder:
    """Read and write the files of one run. `echo=True` also prints the log."""

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
    def progress_file(self) -> Path:
        return self.path / "progress.json"

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

    @property
    def parts(self) -> tuple[Path, ...]:
        """All files and folders of the run; run.json is last."""
        return (
            *(self.samples_file, self.heldout_file, self.history_file, self.progress_file),
            *(self.log_file, self.stop_file),
            *(self.checkpoints, self.model, self.state_file),
        )

    def replace_by(self, staged: "RunFolder") -> None:
        """Remove the run in this folder, and nothing else, and move the run `staged` here."""
        for part in self.parts:
            if part.is_dir():
                shutil.rmtree(part)
            else:
                part.unlink(missing_ok=True)
        for part in staged.parts:
            if part.exists():
                part.rename(self.path / part.name)

    def read(self) -> dict:
        """Return the content of run.json."""
        for _ in range(20):
            # On a full disk, `write` overwrites the file in place, so it can be incomplete for a moment.
            with suppress(json.JSONDecodeError):
                return json.loads(self.state_file.read_text(encoding="utf-8"))
            time.sleep(0.05)
        return json.loads(self.state_file.read_text(encoding="utf-8"))

    def write(self, state: dict) -> None:
        """Write run.json atomically. If the disk is full, overwrite it in place: its space is reserved."""
        written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = json.dumps(state | {"written": written}, indent=2).ljust(_STATE_BYTES - 1) + "\n"
        try:
            replace(self.state_file, text)
        except OSError:
            with self.state_file.open("r+", encoding="utf-8") as file:
                file.write(text)

    def update(self, **changes) -> None:
        """Change entries of run.json."""
        self.write(self.read() | changes)

    def write_samples(self, samples: list[Sample]) -> None:
        columns = {
            "input_ids": pa.array([sample.input_ids for sample in samples], pa.list_(pa.int32())),
            "first_target": [sample.first_target for sample in samples],
            "gaps": pa.array([sample.gaps for sample in samples], pa.list_(pa.list_(pa.int32()))),
        }
        pq.write_table(pa.table(columns), self.samples_file)

    def read_samples(self) -> list[Sample]:
        columns = pq.read_table(self.samples_file).to_pydict()
        rows = zip(columns["input_ids"], columns["first_target"], columns["gaps"], strict=True)
        return [Sample(tuple(ids), first, tuple(map(tuple, gaps))) for ids, first, gaps in rows]

    def append(self, record: dict) -> None:
        """Append a record to the history. It is on disk before any checkpoint of its step."""
        with self.history_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read_progress(self) -> tuple[float, int, float] | None:
        """Return the steps done, their total and when the current step began (Unix time), or None."""
        with suppress(FileNotFoundError, ValueError):
            done, of, since = json.loads(self.progress_file.read_text())
            return done, of, since
        return None

    def keep_history(self, steps: int) -> list[dict]:
        """Drop the records after the first `steps` optimizer steps; return those that remain."""
        kept = [record for record in History(self.history_file).read() if record["step"] <= steps]
        replace(self.history_file, "".join(json.dumps(record) + "\n" for record in kept))
        return kept

    def log(self, text: str) -> None:
        """Append a line to the log."""
        append_line(self.log_file, text, self.echo)

    def tail(self, lines: int) -> list[str]:
        """Return the last lines of the log."""
        return last_lines(self.log_file, lines)


def append_line(file: Path, text: str, echo: bool = False) -> None:
    """Append a line, with the time, to the log `file`; also print it if `echo`.

    A log that cannot be written is ignored: other files have the essentials.
    """
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"
    if echo:
        print(line, flush=True)
    with suppress(OSError), file.open("a", encoding="utf-8", errors="replace") as log:
        log.write(line + "\n")


def last_lines(file: Path, lines: int) -> list[str]:
    """Return the last lines of the log `file`; none if it does not exist."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 200 * lines))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


class History:
    """Read a growing history file; each `read` parses only the lines that are new."""

    def __init__(self, path: Path):
        self._path = path
        self._reset()

    def _reset(self) -> None:
        self._records: list[dict] = []
        self._offset, self._last_line = 0, b""

    def read(self) -> list[dict]:
        """Return all records so far, without a last line that is incomplete."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset - len(self._last_line))
                if file.read(len(self._last_line)) != self._last_line:  # the file was replaced
                    self._reset()
                    file.seek(0)
                self._parse(file.read())
        except FileNotFoundError:
            self._reset()
        return list(self._records)

    def _parse(self, new: bytes) -> None:
        for line in new.splitlines(keepends=True):
            try:
                record = json.loads(line if line.endswith(b"\n") else b"")
            except ValueError:  # still being written, or cut off by a crash
                return
            self._records.append(record)
            self._offset, self._last_line = self._offset + len(line), line


def recorder(folder: RunFolder, before: list[dict]) -> Callable[[dict], None]:
    """Return a function that adds a record to the history and the log of `folder`.

    The seconds of each record continue from those of `before`, the records of the steps already done.
    """

    def record_step(record: dict) -> None:
        record["seconds"] = round(record["seconds"] + seconds_of(before), 3)
        folder.append(record)
        folder.log(sentence(record))

    return record_step


_INTERVAL = 0.1  # seconds between writes of progress.json, at least


def pass_recorder(folder: RunFolder) -> Callable[[float, int], None]:
    """Return a function that writes progress.json: the optimizer steps done and their total."""
    step, began, written = -1, 0.0, 0.0

    def record_pass(done: float, of: int) -> None:
        nonlocal step, began, written
        now = time.time()
        if int(done) != step:
            step, began = int(done), now
        if now - written >= _INTERVAL:
            with suppress(OSError):  # e.g. a full disk; other files have the essentials
                folder.progress_file.write_text(json.dumps([done, of, began]))
            written = now

    return record_pass


def seconds_of(history: list[dict]) -> float:
    """Return the training time of all steps in `history`, in seconds."""
    return history[-1]["seconds"] if history else 0.0


def sentence(record: dict) -> str:
    """Return a history record as a line of the log."""
    measurements = {
        "heldout_loss": "held-out loss {:.4f}",
        "preference": "preference {:.1%}",
        "margin": "margin {:.3f}",
        "pass_at_1": "pass@1 {:.1%}",
        "eval_error": "not measured: {}",
    }
    progress = (
        f"step {record['step']} of {record['of']} · loss {record['loss']:.4f} · "
        f"{record['tokens_per_second']:.0f} tokens/s · peak {record['peak_memory_mib']:,} MiB"
    )
    texts = [text.format(record[name]) for name, text in measurements.items() if name in record]
    return " · ".join([progress, *texts])

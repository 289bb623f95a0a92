"""A fine-tuning that leaves the notebook usable: a thread, with everything it tells also in its folder.

`run.json` holds settings, status and summary, `history.jsonl` a line for each optimizer step, `model/` the
result. Runs of one process queue, because they would only slow each other down.
"""

import json
import shutil
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import datasets

from .. import models, progress, prompts, tables
from ..errors import UserError
from ..memory import release
from ..prompts import Sample
from .adapters import check_hardware
from .loop import train
from .schedule import fitted
from .settings import TrainingSettings, settings_of

_one_at_a_time = threading.Lock()


class Run:
    """`status` is "queued", "running", "done", "stopped" or "failed"; `error` says why it failed.

    `history` has a record for each optimizer step (loss in nats per predicted token, tokens without padding,
    seconds, peak memory in MiB); `summary` describes the whole.
    """

    def __init__(
        self, model: str, samples: list[Sample], settings: TrainingSettings, output_dir: Path, summary: dict
    ):
        self.model, self.settings, self.output_dir = model, settings, output_dir
        self.status = "queued"
        self.error: Exception | None = None
        self.history: list[dict] = []
        self.summary = summary
        self._samples = samples
        self._stop = threading.Event()
        self._start(resume=False)

    @property
    def model_dir(self) -> Path:
        """Where the tuned model is, once the run is done or stopped."""
        return self.output_dir / "model"

    def wait(self) -> "Run":
        """Return when the run has ended, showing its progress; raise if it failed."""
        bar = None
        while self.active:
            self._thread.join(timeout=0.2)
            if self.history:
                last = self.history[-1]
                bar = bar or progress.bar(last["of"], f"train {self.output_dir.name}", unit="step")
                bar.update(last["step"] - bar.n)
                bar.set_postfix_str(
                    f"loss {last['loss']:.3f}, {last['tokens_per_second']:.0f} tokens/s", False
                )
        if bar:
            bar.close()
        if self.error:
            mendable = isinstance(self.error, UserError | FloatingPointError)
            kind = UserError if mendable else RuntimeError
            raise kind(f"The run in {self.output_dir} failed: {self.error}") from self.error
        return self

    @property
    def active(self) -> bool:
        """Whether the run is queued or running."""
        return self._thread.is_alive()

    def request_stop(self) -> None:
        """Ask the run to end after its current step, with a checkpoint to `resume` from."""
        self._stop.set()

    def stop(self) -> "Run":
        """`request_stop`, and wait for the end."""
        self.request_stop()
        return self.wait()

    def resume(self) -> "Run":
        """Go on from the last checkpoint of a stopped or failed run."""
        if self.active or self.status == "done":
            raise UserError(
                f"the run in {self.output_dir} is {self.status}; only an ended one can be resumed."
            )
        self._stop.clear()
        self._start(resume=True)
        return self

    def _start(self, resume: bool) -> None:
        self.status, self.error = "queued", None
        self._write()
        self._thread = threading.Thread(
            target=self._train, args=(resume,), name=_thread_name(self.output_dir)
        )
        self._thread.start()

    def _train(self, resume: bool) -> None:
        with _one_at_a_time:
            self.status = "running"
            self._write()
            try:
                done = train(
                    self.model,
                    self._samples,
                    self.settings,
                    self.output_dir,
                    on_record=self._record,
                    should_stop=self._stop.is_set,
                    resume=resume,
                )
                self.summary |= done
                self.status = "stopped" if done["stopped"] else "done"
            except Exception as error:  # whatever it was: the notebook learns of it from wait() and status
                self.error, self.status = error, "failed"
                (self.output_dir / "error.txt").write_text(traceback.format_exc())
            release()
            self._write()

    def _record(self, record: dict) -> None:
        if self.history and self.history[-1]["step"] >= record["step"]:
            self._forget_from(record["step"])
        self.history.append(record)
        with (self.output_dir / "history.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")

    def _forget_from(self, step: int) -> None:
        """Drop what a failed run did after the checkpoint from which it now goes on."""
        self.history = [record for record in self.history if record["step"] < step]
        lines = "".join(json.dumps(record) + "\n" for record in self.history)
        (self.output_dir / "history.jsonl").write_text(lines)

    def _write(self) -> None:
        state = {
            "status": self.status,
            "error": str(self.error) if self.error else None,
            "model": self.model,
            "settings": asdict(self.settings),
            "summary": self.summary,
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        (self.output_dir / "run.json").write_text(json.dumps(state, indent=2))

    def __repr__(self) -> str:
        step = f", step {self.history[-1]['step']} of {self.history[-1]['of']}" if self.history else ""
        return f"<Run {self.output_dir}: {self.status}{step}>"


def _thread_name(output_dir: Path) -> str:
    return f"finetune {output_dir.resolve()}"


def finetune(
    ds: datasets.Dataset,
    model: str | Path = "smollm2-135m",
    output_dir: str | Path = "runs/finetune",
    *,
    overwrite: bool = False,
    **settings,
) -> Run:
    """Start tuning `model` on `ds` (columns `instruction`, `response`) and return at once.

    `settings` are those of `TrainingSettings`. `output_dir` must not hold a run already, unless `overwrite`.
    """
    settings = settings_of(settings)
    check_hardware(settings)
    tables.require(ds, ["instruction", "response"], "wb.load")
    output_dir = Path(output_dir)
    if any(thread.name == _thread_name(output_dir) for thread in threading.enumerate()):
        raise UserError(
            f"output_dir={str(output_dir)!r} holds a run that is not done; wait() for it or stop() it."
        )
    if (output_dir / "run.json").exists() and not overwrite:
        raise UserError(
            f"output_dir={str(output_dir)!r} holds a run already; "
            f"choose another folder, or pass overwrite=True."
        )
    tokenizer = models.load_tokenizer(model)
    whole = prompts.training_samples(tokenizer, ds["instruction"][:], ds["response"][:], settings.template)
    samples, pieces = fitted(whole, settings)
    with_targets = [sample for sample in samples if sample.n_targets]
    if not with_targets:
        raise UserError(
            f"none of the {len(ds)} rows has a response token within max_length={settings.max_length}."
        )
    summary = {
        "samples": len(with_targets),
        "samples_without_target": len(samples) - len(with_targets),
        "overlong": str(pieces),
        "tokens": settings.epochs * sum(len(sample.input_ids) for sample in with_targets),
        "rows_sha256": tables.rows_sha256(ds),
    }
    if (output_dir / "run.json").exists():  # never a folder that is something else
        shutil.rmtree(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    return Run(str(model), with_targets, settings, output_dir, summary)

"""How a run stands, read from its folder at once, and said in words."""

from dataclasses import dataclass

from ...core.errors import UserError
from ...core.texts import escaped
from ...training import Run, TrainingSettings
from ..markup import box, cell

_LINES = 30  # of the log
_SIGNS = {  # told apart without their colours too
    "queued": ("…", "#787878"),
    "running": ("●", "#0072B2"),
    "stopping": ("●", "#E69F00"),
    "stopped": ("■", "#787878"),
    "failed": ("✗", "#D55E00"),
    "done": ("✓", "#009E73"),
}


@dataclass(frozen=True)
class Standing:
    """All that a panel shows of a run at one moment. `stopping`: asked to stop, and not there yet."""

    status: str
    active: bool
    stopping: bool
    detached: bool
    model: str
    settings: TrainingSettings
    summary: dict
    history: list[dict]
    error: str | None
    log: str

    @property
    def last(self) -> dict | None:
        """The record of the last optimizer step."""
        return next((record for record in reversed(self.history) if "loss" in record), None)

    def latest(self, name: str) -> float | None:
        """What was measured last of `name`, which not every step has."""
        found = (record[name] for record in reversed(self.history) if record.get(name) is not None)
        return next(found, None)


def look(run: Run) -> Standing:
    """How `run` stands now. Raises where its folder holds no run any more."""
    try:
        return Standing(
            active=run.active,  # first: while it is, somebody looks again
            status=run.status,  # next: what is read after it is at least as new
            stopping=run.stopping,
            detached=run.detached,
            model=run.model,
            settings=run.settings,
            summary=run.summary,
            history=run.history,
            error=str(run.error) if run.error else None,
            log=run.log(_LINES),
        )
    except FileNotFoundError:
        raise UserError(
            f"output_dir={str(run.output_dir)!r} holds no run any more: moved, deleted or started anew; "
            "run this cell again to see what is there."
        ) from None


def badge(now: Standing) -> str:
    """HTML of the status as a sign and a word, which screen readers tell whenever it changes."""
    word = "stopping" if now.stopping else now.status
    sign, color = _SIGNS[word]
    return (
        f'<span role="status" style="font-weight:600;margin-right:.6em;white-space:nowrap">'
        f'<span aria-hidden="true" style="color:{color}">{sign}</span> {word}</span>'
    )


def meaning(now: Standing) -> str:
    """What the status means for whoever waits."""
    if now.stopping:
        return "ends after this step, with a checkpoint to go on from"
    if now.status == "queued":
        return "waits until no other run uses the device"
    if now.status == "running" and now.last is None:
        return "loads the model"
    if now.status == "running":
        return f"{_left(now)} left" + (
            "; goes on if the kernel ends" if now.detached else "; ends with the kernel"
        )
    if now.status == "stopped":
        return f"after {_steps(now)}; Resume goes on from there"
    if now.status == "failed":
        return f"after {_steps(now)}"
    return _steps(now)


def _steps(now: Standing) -> str:
    return f"step {now.last['step']:,} of {now.last['of']:,}" if now.last else "no step"


def _left(now: Standing) -> str:
    last = now.last
    return "about " + duration(last["seconds"] / last["step"] * (last["of"] - last["step"]))


def duration(seconds: float) -> str:
    """`seconds` with the two units that matter."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def numbers(now: Standing) -> str:
    """HTML of the numbers of the last step."""
    cells = [cell(*number) for number in _numbers(now)]
    style = "display:flex;flex-wrap:wrap;column-gap:1.1em;row-gap:.3em;margin:.4em 0"
    return f'<div style="{style}">{"".join(cells)}</div>' if cells else ""


def _numbers(now: Standing) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each number that is known."""
    last, found = now.last, []
    if last:
        found = [
            ("step", f"{last['step']:,} of {last['of']:,}", "optimizer steps done, of all"),
            ("loss", f"{last['loss']:.3f}", "of the last step, in nats per predicted token"),
        ]
    if (heldout := now.latest("heldout_loss")) is not None:
        found.append(("held-out loss", f"{heldout:.3f}", "in nats per token of rows that are not trained on"))
    if (passed := now.latest("pass_at_1")) is not None:
        found.append(("pass@1", f"{passed:.1%}", "share of the tasks solved at the first try"))
    if last:
        memory = f"{last['peak_memory_mib'] / 1024:.1f} GiB"
        found += [
            ("tokens/s", f"{last['tokens_per_second']:,.0f}", "training tokens, without padding"),
            ("peak memory", memory, "of the device, or of the process on a CPU"),
        ]
    if "padding_rate" in now.summary:
        rate = f"{now.summary['padding_rate']:.1%}"
        found.append(("padding", rate, "share of the computed tokens that is padding"))
    if last:
        found.append(("elapsed", duration(last["seconds"]), "time spent in optimizer steps"))
    return found


def about(now: Standing, folder: str) -> str:
    """HTML of what is trained, and where."""
    settings, samples = now.settings, now.summary.get("samples", 0)
    words = [now.model, settings.method, f"{samples:,} samples", f"{settings.strategy} packing"]
    words += [f"learning rate {settings.learning_rate:g}", f"batch {settings.batch_size}"]
    return (
        f'<div style="line-height:1.5"><b>Run in {escaped(folder)}</b><br>'
        f'<span style="opacity:.75">{escaped(" · ".join(words))}</span></div>'
    )


def log(now: Standing) -> str:
    """HTML of the last lines of the log."""
    style = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.4;margin:0"
    return f'<pre style="{style}">{escaped(now.log)}</pre>'


def outcome(now: Standing, folder: str) -> str:
    """HTML of the cause of a failure with the next step, or of where the model is; else nothing."""
    if now.error:
        cause, _, log = now.error.partition("\n")
        lines = f'<pre style="white-space:pre-wrap;margin:.4em 0 0">{escaped(log)}</pre>' if log else ""
        return box(escaped(cause) + lines, _SIGNS["failed"][1], alert=True)
    if now.status == "done":
        code = f"<code>{escaped(f'wb.attach({folder!r})')}</code>"
        where = f"The model is in {escaped(folder)}/model."
        text = f"{where} In a cell, {code} is this run, for wb.evaluate and wb.export."
        return box(text, _SIGNS["done"][1])
    return ""

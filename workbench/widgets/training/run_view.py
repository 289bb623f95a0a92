"""One run at one moment, read from its folder, and its parts as HTML."""

from dataclasses import dataclass

from ... import figures
from ...core.errors import UserError
from ...core.texts import escaped
from ...training import Run, TrainingSettings
from ..markup import box, cell

_LOG_LINES = 30
_CHART_WIDTH = 640  # pixels
_SIGNS = {  # a sign of its own for each status, because colour alone is not enough
    "queued": ("…", "#787878"),
    "running": ("●", "#0072B2"),
    "stopping": ("●", "#E69F00"),
    "stopped": ("■", "#787878"),
    "failed": ("✗", "#D55E00"),
    "done": ("✓", "#009E73"),
}


@dataclass(frozen=True)
class RunState:
    """What a panel shows of a run. `stopping`: a stop was requested and the run has not ended yet."""

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
        """The record of the last optimizer step, or None."""
        return next((record for record in reversed(self.history) if "loss" in record), None)

    def latest(self, name: str) -> float | None:
        """The last measured value of `name`, which not every step has, or None."""
        values = (record[name] for record in reversed(self.history) if record.get(name) is not None)
        return next(values, None)


def read(run: Run) -> RunState:
    """Read the state of `run`. Raises UserError if its folder no longer holds a run."""
    try:
        # The order matters. `active` comes first: as long as it is True, the panel reads again.
        # `status` comes next, so that everything read after it is at least as new.
        return RunState(
            active=run.active,
            status=run.status,
            stopping=run.stopping,
            detached=run.detached,
            model=run.model,
            settings=run.settings,
            summary=run.summary,
            history=run.history,
            error=str(run.error) if run.error else None,
            log=run.log(_LOG_LINES),
        )
    except FileNotFoundError:
        raise UserError(
            f"output_dir={str(run.output_dir)!r} no longer holds a run: it was moved, deleted or replaced. "
            "Run this cell again to see what is there."
        ) from None


def badge(state: RunState) -> str:
    """The status as a sign and a word, which screen readers announce when it changes."""
    word = "stopping" if state.stopping else state.status
    sign, color = _SIGNS[word]
    return (
        f'<span role="status" style="font-weight:600;margin-right:.6em;white-space:nowrap">'
        f'<span aria-hidden="true" style="color:{color}">{sign}</span> {word}</span>'
    )


def meaning(state: RunState) -> str:
    """What the status means, as plain text."""
    if state.stopping:
        return "ends after this step, with a checkpoint to resume from"
    if state.status == "queued":
        return "waits for another run to release the device"
    if state.status == "running" and state.last is None:
        return "loads the model"
    if state.status == "running":
        kernel = "survives the kernel" if state.detached else "ends with the kernel"
        return f"about {_time_left(state)} left; {kernel}"
    if state.status == "stopped":
        return f"after {_steps(state)}; Resume continues from there"
    if state.status == "failed":
        return f"after {_steps(state)}"
    return _steps(state)


def _steps(state: RunState) -> str:
    return f"step {state.last['step']:,} of {state.last['of']:,}" if state.last else "no step"


def _time_left(state: RunState) -> str:
    last = state.last
    return duration(last["seconds"] / last["step"] * (last["of"] - last["step"]))


def duration(seconds: float) -> str:
    """`seconds` in its two largest units, e.g. "1 h 20 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def numbers(state: RunState) -> str:
    """The numbers of the last step; empty before the first one."""
    cells = [cell(*number) for number in _numbers(state)]
    style = "display:flex;flex-wrap:wrap;column-gap:1.1em;row-gap:.3em;margin:.4em 0"
    return f'<div style="{style}">{"".join(cells)}</div>' if cells else ""


def _numbers(state: RunState) -> list[tuple[str, str, str]]:
    """Name, value and tooltip of each number."""
    last, rows = state.last, []
    if last:
        rows = [
            ("step", f"{last['step']:,} of {last['of']:,}", "optimizer steps done, of the total"),
            ("loss", f"{last['loss']:.3f}", "of the last step, in nats per predicted token"),
        ]
    if (heldout := state.latest("heldout_loss")) is not None:
        rows.append(("held-out loss", f"{heldout:.3f}", "on held-out rows, in nats per token"))
    if (preference := state.latest("preference")) is not None:
        words = "share of programs with one wrong token that are less likely than the reference"
        rows.append(("preference", f"{preference:.1%}", words))
    if (pass_at_1 := state.latest("pass_at_1")) is not None:
        rows.append(("pass@1", f"{pass_at_1:.1%}", "share of the tasks solved by the first sample"))
    if last:
        memory = f"{last['peak_memory_mib'] / 1024:.1f} GiB"
        rows += [
            ("tokens/s", f"{last['tokens_per_second']:,.0f}", "training tokens per second, without padding"),
            (
                "peak memory",
                memory,
                "of this training, above what its process held before",
            ),
        ]
    if "padding_rate" in state.summary:
        rate = f"{state.summary['padding_rate']:.1%}"
        rows.append(("padding", rate, "share of the computed tokens that is padding"))
    if last:
        rows.append(("elapsed", duration(last["seconds"]), "time spent in optimizer steps"))
    return rows


def chart(history: list[dict]) -> str:
    """SVG of the loss over the steps; empty before the first loss."""
    losses = [record for record in history if record.get("loss") is not None]
    if not losses:
        return ""
    first, last = losses[0], losses[-1]
    label = (
        f"Training loss from {first['loss']:.3f} at step {first['step']} to {last['loss']:.3f} at step "
        f"{last['step']}"
    )
    for name, words, form in (("heldout_loss", "held-out loss", ".3f"), ("pass_at_1", "pass@1", ".1%")):
        if values := [record[name] for record in history if record.get(name) is not None]:
            label += f", {words} {values[-1]:{form}}"
    return figures.to_svg(figures.live_curve(history), _CHART_WIDTH, label)


def about(state: RunState, folder: str) -> str:
    """What is trained, with which settings, and where."""
    settings, samples = state.settings, state.summary.get("samples", 0)
    parts = [state.model, settings.method, f"{samples:,} samples", f"{settings.strategy} packing"]
    parts += [f"learning rate {settings.learning_rate:g}", f"batch {settings.batch_size}"]
    return (
        f'<div style="line-height:1.5"><b>Run in {escaped(folder)}</b><br>'
        f'<span style="opacity:.75">{escaped(" · ".join(parts))}</span></div>'
    )


def log(state: RunState) -> str:
    """The last lines of the log."""
    style = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.4;margin:0"
    return f'<pre style="{style}">{escaped(state.log)}</pre>'


def outcome(state: RunState, folder: str) -> str:
    """Why the run failed and what to do, or where the model is; empty until the run ends."""
    if state.error:
        cause, _, log = state.error.partition("\n")
        lines = f'<pre style="white-space:pre-wrap;margin:.4em 0 0">{escaped(log)}</pre>' if log else ""
        return box(escaped(cause) + lines, _SIGNS["failed"][1], alert=True)
    if state.status == "done":
        code = f"<code>{escaped(f'wb.attach({folder!r})')}</code>"
        where = f"The model is in {escaped(folder)}/model."
        return box(f"{where} {code} returns this run, for wb.evaluate and wb.export.", _SIGNS["done"][1])
    return ""

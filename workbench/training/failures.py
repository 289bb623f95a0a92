"""Error messages of failed runs: the cause, what to do next, and the last lines of the log."""

import errno
import re
import shutil
import traceback

from ..core import memory
from ..core.errors import UserError
from . import checkpoints, processes
from .folder import RunFolder
from .settings import TrainingSettings

_LOG_LINES = 5  # lines of the log in a message
_MAX_CHARACTERS = 2000  # of a cause: some exceptions have a page of text
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# safetensors and PyTorch turn the system's error into text, and PyTorch's does not even name the error.
_DISK_FULL_TEXTS = re.compile(
    "No space left|File too large|Disk quota exceeded|PytorchStreamWriter failed|inline_container"
)


def describe(error: Exception, settings: TrainingSettings, folder: RunFolder) -> str:
    """Return the message of a run that raised `error`; log the traceback."""
    lines = folder.tail(_LOG_LINES)
    folder.log("".join(traceback.format_exception(error)))
    checkpoints.discard_incomplete(folder.checkpoints, folder.log)  # frees space if the disk is full
    return _message(_cause(error, settings, folder), folder, lines)


def describe_lost(state: dict, folder: RunFolder) -> str:
    """Return the message of a run whose process ended without recording why."""
    process, written = state["process"], folder.state_file.stat().st_mtime
    if processes.machine_restarted_since(written):
        cause = "the machine was restarted"
    else:
        cause = "it was killed, by hand or because the system ran out of memory"
    if not state["detached"]:
        cause += ", or its notebook's kernel was restarted, which only runs with detached=True survive"
    process_text = f"process {process['pid']} on {process['host']}"
    cause = f"The training ({process_text}) ended unexpectedly: {cause}. {_how_to_resume(folder)}"
    return _message(cause, folder, folder.tail(_LOG_LINES))


def _message(cause: str, folder: RunFolder, lines: list[str]) -> str:
    text = cause if len(cause) <= _MAX_CHARACTERS else cause[: _MAX_CHARACTERS - 1] + "…"
    if lines:
        text += "\n".join([f"\nThe last lines of {folder.log_file}:", *(f"  {line[:200]}" for line in lines)])
    return text


def _cause(error: Exception, settings: TrainingSettings, folder: RunFolder) -> str:
    """Return one or two sentences: what happened, and what to do."""
    if isinstance(error, UserError | FloatingPointError):
        return str(error)  # these messages contain the fix
    if memory.is_out_of_memory(error):
        return (
            f"Out of memory: {_first_line(error)} Free some memory and resume(), or start a new run with "
            f"{_or(_memory_savers(settings))}."
        )
    if _is_disk_full(error):
        free = shutil.disk_usage(folder.path).free // 2**20
        return (
            f"The disk is full: {_first_line(error)} ({free:,} MiB are free in {folder.path}). "
            f"Free some space there. {_how_to_resume(folder)}"
        )
    name = type(error).__name__
    return f"{name}: {_first_line(error)} The traceback is in {folder.log_file}. {_how_to_resume(folder)}"


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"{text}."


def _memory_savers(settings: TrainingSettings) -> list[str]:
    """Return changes to `settings` that need less memory."""
    changes = [f"a smaller batch_size than {settings.batch_size} and more accumulation"]
    if not settings.gradient_checkpointing:
        changes.append("gradient_checkpointing=True")
    if settings.method == "full":
        changes.append("method='lora'")
    return [*changes, f"a smaller max_length than {settings.max_length}"]


def _or(choices: list[str]) -> str:
    return ", ".join(choices[:-1]) + f" or {choices[-1]}"


def _is_disk_full(error: BaseException) -> bool:
    while error:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return True
        if _DISK_FULL_TEXTS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _how_to_resume(folder: RunFolder) -> str:
    checkpoint = checkpoints.newest(folder.checkpoints)
    if checkpoint is None:
        return "resume() starts over, because there is no checkpoint yet."
    return f"resume() continues from step {checkpoints.step_of(checkpoint)}."

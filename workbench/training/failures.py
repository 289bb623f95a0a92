"""What ended a run, in one message: the cause, the next step, and the last lines of its log."""

import errno
import re
import shutil
import traceback

from ..core import memory
from ..core.errors import UserError
from . import checkpoints, processes
from .folder import RunFolder
from .settings import TrainingSettings

_LINES = 5  # of the log in a message
_LONGEST = 2000  # characters of a cause, which may be an exception with a page of text
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# safetensors and PyTorch turn the system's error into a text, PyTorch into one that does not even tell which.
_NO_ROOM_TEXTS = re.compile(
    "No space left|File too large|Disk quota exceeded|PytorchStreamWriter failed|inline_container"
)


def describe(error: Exception, settings: TrainingSettings, folder: RunFolder) -> str:
    """The message of a run in which `error` was raised; the traceback goes to the log."""
    seen = folder.tail(_LINES)
    folder.log("".join(traceback.format_exception(error)))
    checkpoints.discard_incomplete(folder.checkpoints, folder.log)  # a full disk needs the room
    return _message(_cause(error, settings, folder), folder, seen)


def gone(state: dict, folder: RunFolder) -> str:
    """The message of a run whose process has ended without a word."""
    who, written = state["process"], folder.state_file.stat().st_mtime
    if processes.machine_restarted_since(written):
        why = "the machine was restarted"
    else:
        why = "it was killed, by hand or by a system out of memory"
    if not state["detached"]:
        why += ", or its notebook's kernel was restarted, which only runs with detached=True outlive"
    where = f"process {who['pid']} on {who['host']}"
    cause = f"The training ({where}) ended without a word: {why}. " + _go_on(folder)
    return _message(cause, folder, folder.tail(_LINES))


def _message(cause: str, folder: RunFolder, lines: list[str]) -> str:
    text = cause if len(cause) <= _LONGEST else cause[: _LONGEST - 1] + "…"
    if lines:
        text += "\n".join([f"\nThe last lines of {folder.log_file}:", *(f"  {line[:200]}" for line in lines)])
    return text


def _cause(error: Exception, settings: TrainingSettings, folder: RunFolder) -> str:
    """One or two sentences: what happened, and what to do."""
    if isinstance(error, UserError | FloatingPointError):
        return str(error)  # these name their cure
    if memory.is_out_of_memory(error):
        return (
            f"Out of memory: {_first_line(error)} Free some and resume(), or start anew with "
            f"{_or(_leaner(settings))}."
        )
    if _is_disk_full(error):
        free = shutil.disk_usage(folder.path).free // 2**20
        return (
            f"The disk is full: {_first_line(error)} ({free:,} MiB are free in {folder.path}). "
            f"Make room there. {_go_on(folder)}"
        )
    what = f"{type(error).__name__}: {_first_line(error)}"
    return f"{what} Its traceback is in {folder.log_file}. {_go_on(folder)}"


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"{text}."


def _leaner(settings: TrainingSettings) -> list[str]:
    """Settings that need less memory."""
    ways = [f"a smaller batch_size than {settings.batch_size} and more accumulation"]
    if not settings.gradient_checkpointing:
        ways.append("gradient_checkpointing=True")
    if settings.method == "full":
        ways.append("method='lora'")
    return [*ways, f"a smaller max_length than {settings.max_length}"]


def _or(ways: list[str]) -> str:
    return ", ".join(ways[:-1]) + f" or {ways[-1]}"


def _is_disk_full(error: BaseException) -> bool:
    while error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        if _NO_ROOM_TEXTS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _go_on(folder: RunFolder) -> str:
    last = checkpoints.newest(folder.checkpoints)
    if last is None:
        return "resume() starts over: there is no checkpoint yet."
    return f"resume() goes on from step {checkpoints.step_of(last)}."

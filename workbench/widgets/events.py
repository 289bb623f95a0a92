"""What every control needs: errors that can be seen, and work that waits until a slider rests."""

import asyncio
import traceback
from collections.abc import Callable
from functools import wraps

import ipywidgets

from ..texts import escaped

_MOST_SHOWN = 10_000  # characters of a message


class ErrorPanel(ipywidgets.HTML):
    """Shows what went wrong in a callback; empty when nothing did. `last` is the exception, for tests."""

    last: Exception | None = None

    def __init__(self):
        super().__init__()
        self.add_class("workbench-errors")

    def guard(self, callback: Callable, starts: bool = True) -> Callable:
        """`callback` with its exceptions shown here: ipywidgets would swallow them.

        A callback that `starts` something new first clears what is shown; one that only follows up does not.
        """

        @wraps(callback)
        def guarded(*args, **kwargs):
            if starts:
                self.clear()
            try:
                return callback(*args, **kwargs)
            except Exception as error:
                self.show(error)

        return guarded

    def show(self, error: Exception) -> None:
        self.last = error
        trace = "".join(traceback.format_exception(error))
        self.value = (
            '<div role="alert" style="border-left:4px solid #D55E00;padding:.3em;overflow-wrap:anywhere">'
            f"<b>{escaped(type(error).__name__)}</b>: {escaped(_cut(str(error)))}"
            f"<details><summary>where</summary><pre>{escaped(_cut(trace))}</pre></details></div>"
        )

    def clear(self) -> None:
        self.last, self.value = None, ""


def _cut(text: str) -> str:
    """Messages may quote a dataset, whose lines know no end: the middle of a long one is left out."""
    if len(text) <= _MOST_SHOWN:
        return text
    return f"{text[: _MOST_SHOWN // 2]} … {text[-_MOST_SHOWN // 2 :]}"


class WhenSettled:
    """Calls `action` once, `seconds` after the last of a burst of calls; at once where no event loop runs."""

    def __init__(self, action: Callable[[], None], seconds: float = 0.25):
        self._action, self._seconds = action, seconds
        self._waiting: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._action()
            return
        if self._waiting:
            self._waiting.cancel()
        self._waiting = loop.call_later(self._seconds, self._action)

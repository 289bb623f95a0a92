"""What every control needs: errors that can be seen, and work that waits until a slider rests."""

import asyncio
import traceback
from collections.abc import Callable
from functools import wraps
from html import escape

import ipywidgets


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
            f'<div role="alert" style="border-left:4px solid #D55E00;padding:.3em .8em">'
            f"<b>{escape(type(error).__name__)}</b>: {escape(str(error))}"
            f"<details><summary>where</summary><pre>{escape(trace)}</pre></details></div>"
        )

    def clear(self) -> None:
        self.last, self.value = None, ""


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

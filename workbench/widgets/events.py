"""What every control needs: errors that can be seen, and work that waits until a slider rests."""

import asyncio
import inspect
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps

import ipywidgets

from ..core.errors import UserError
from ..core.texts import escaped

_MOST_SHOWN = 10_000  # characters of a message
_CURE = (
    '<div style="opacity:.8">Not foreseen: change a setting to go on; if it comes again, report it with the '
    "text below.</div>"
)


class ErrorPanel(ipywidgets.HTML):
    """Shows what went wrong in a callback; empty when nothing did. `last` is the exception, for tests."""

    last: Exception | None = None

    def __init__(self):
        super().__init__()
        self.add_class("workbench-errors")

    def guard(self, callback: Callable, starts: bool = True) -> Callable:
        """`callback`, also an async one, with its exceptions shown here: ipywidgets and event loops would
        swallow them.

        A callback that `starts` something new first clears what is shown; one that only follows up does not.
        """
        if inspect.iscoroutinefunction(callback):

            @wraps(callback)
            async def guarded(*args, **kwargs):
                with self.shown_here(starts):
                    return await callback(*args, **kwargs)
        else:

            @wraps(callback)
            def guarded(*args, **kwargs):
                with self.shown_here(starts):
                    return callback(*args, **kwargs)

        return guarded

    @contextmanager
    def shown_here(self, starts: bool = True):
        """Show the exception that ends what is done under this."""
        if starts:
            self.clear()
        try:
            yield
        except Exception as error:
            self.show(error)

    def show(self, error: Exception) -> None:
        self.last = error
        # A UserError says itself what to do; of anything else only the place in the code is known.
        cause = "" if isinstance(error, UserError) else f"<b>{escaped(type(error).__name__)}</b>: "
        cure = "" if isinstance(error, UserError) else _CURE
        trace = "".join(traceback.format_exception(error))
        self.value = (
            '<div role="alert" style="border-left:4px solid #D55E00;padding:.3em .8em;line-height:1.5;'
            f'overflow-wrap:anywhere">{cause}{escaped(_cut(str(error)))}{cure}'
            f'<details><summary>where</summary><pre style="overflow-x:auto">{escaped(_cut(trace))}</pre>'
            "</details></div>"
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

"""Callbacks and background tasks whose exceptions reach the error panel."""

import asyncio
import inspect
import threading
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from functools import wraps

import ipywidgets as w

from ..core.errors import UserError
from ..core.texts import escaped
from .markup import box

_MAX_SHOWN = 10_000  # characters of a message
_UNEXPECTED = (
    '<div style="opacity:.8">This is unexpected. Change a setting to continue; if it happens again, please '
    "report it with the text below.</div>"
)
_running: set[asyncio.Task] = set()  # an event loop keeps only weak references to its tasks


def has_loop() -> bool:
    """Whether an event loop is running: True in a notebook, False in a script."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Follower:
    """Part of a panel that shows what is in a folder, and follows it until nothing there is active.

    The panel has `errors` (an `ErrorPanel`), `bar`, the buttons `stop` and `resume`, the trait `active`,
    `_read()`, which reads the folder, and `_show(state)`, which shows what was read and calls
    `_show_progress`. `_interval` is in seconds.
    """

    _interval = 0.5
    _following: asyncio.Task | None = None

    def follow(self) -> None:
        """Show the current state and, if an event loop is running, follow it until the end."""
        self.refresh()
        if self.active and has_loop():
            self._following = self.errors.start(self._follow())

    def refresh(self) -> None:
        """Show the current state."""
        self._show(self._read())

    def close(self) -> None:
        """Close the panel; what it shows continues."""
        if self._following:
            self._following.cancel()
        super().close()

    def _show_progress(self, state) -> None:
        """Show the bar and the buttons for a `state` with `status`, `active` and `stopping`."""
        set_visible(self.bar, state.active)
        set_visible(self.stop, state.active)
        self.stop.disabled = state.stopping
        set_visible(self.resume, state.status in ("stopped", "failed") and not state.active)
        self.active = state.active

    async def _follow(self) -> None:
        try:
            while self.active:
                await asyncio.sleep(self._interval)
                # In a thread, because the folder may be on a slow disk.
                self._show(await asyncio.to_thread(self._read))
        except Exception:
            self.active, self.stop.disabled = False, True
            raise


def set_visible(widget: w.DOMWidget, visible: bool) -> None:
    """Show or hide a widget."""
    widget.layout.display = "" if visible else "none"


class ErrorPanel(w.HTML):
    """Shows the exception of a callback or background task; empty if there is none.

    ipywidgets and event loops swallow exceptions: wrap callbacks in `guard`, and start coroutines with
    `start`. `last` is the exception shown, or None.
    """

    last: Exception | None = None

    def __init__(self):
        super().__init__()
        self.add_class("workbench-errors")

    def guard(self, callback: Callable, clear: bool = True) -> Callable:
        """Returns `callback`, sync or async, with its exceptions shown in this panel.

        With `clear`, each call first removes the exception shown before. Pass False for callbacks that only
        follow up on another one.
        """
        if inspect.iscoroutinefunction(callback):

            @wraps(callback)
            async def guarded(*args, **kwargs):
                with self._guarded(clear):
                    return await callback(*args, **kwargs)
        else:

            @wraps(callback)
            def guarded(*args, **kwargs):
                with self._guarded(clear):
                    return callback(*args, **kwargs)

        return guarded

    def start(self, work: Coroutine) -> asyncio.Task | None:
        """Run `work` as a background task and show its exceptions.

        Without an event loop it runs to its end first, and None is returned.
        """
        if not has_loop():
            return asyncio.run(self._watch(work))
        task = asyncio.get_running_loop().create_task(self._watch(work))
        _running.add(task)
        task.add_done_callback(_running.discard)
        return task

    async def _watch(self, work: Coroutine) -> None:
        with self._guarded(clear=False):
            await work

    @contextmanager
    def _guarded(self, clear: bool):
        if clear:
            self.clear()
        try:
            yield
        except Exception as error:
            self.show(error)

    def show(self, error: Exception) -> None:
        """Show `error`: its message, and its traceback folded."""
        self.last = error
        # The message of a UserError is enough; any other exception also needs its type.
        expected = isinstance(error, UserError)
        kind = "" if expected else f"<b>{escaped(type(error).__name__)}</b>: "
        trace = "".join(traceback.format_exception(error))
        details = (
            f'<details><summary>traceback</summary><pre style="overflow-x:auto">{escaped(_cut(trace))}</pre>'
            "</details>"
        )
        message = kind + escaped(_cut(str(error))) + ("" if expected else _UNEXPECTED)
        self.value = box(message + details, "#D55E00", alert=True)

    def clear(self) -> None:
        """Remove the exception shown."""
        self.last, self.value = None, ""


def _cut(text: str) -> str:
    """Leave out the middle of a long message, which may quote a line of a dataset of any length."""
    if len(text) <= _MAX_SHOWN:
        return text
    return f"{text[: _MAX_SHOWN // 2]} … {text[-_MAX_SHOWN // 2 :]}"


class Debounced:
    """Calls `action` once, `seconds` after the last call of a burst; at once if no event loop is running."""

    def __init__(self, action: Callable[[], None], seconds: float = 0.25):
        self._action, self._seconds = action, seconds
        self._waiting: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        if not has_loop():
            self._action()
            return
        if self._waiting:
            self._waiting.cancel()
        self._waiting = asyncio.get_running_loop().call_later(self._seconds, self._action)


class Serial:
    """Runs actions one at a time, in the order in which they are submitted, from any thread.

    Notebooks deliver the messages of widgets on several threads. `submit` never waits: if another action is
    running, the thread that runs it also runs the submitted one, afterwards. So an action can submit others.
    Actions must not raise: wrap them in `ErrorPanel.guard`.
    """

    def __init__(self):
        self._actions: deque[Callable[[], None]] = deque()
        self._free = threading.Lock()
        self._runner: int | None = None  # the thread that runs actions

    def submit(self, action: Callable[[], None]) -> None:
        """Run `action` at once, or after those that are running or waiting."""
        self._actions.append(action)
        # The next check of `_actions` comes after the release, so no action is left behind.
        while self._actions and self._free.acquire(blocking=False):
            self._run()

    def wait(self, action: Callable[[], None]) -> None:
        """Run `action` after those submitted before, and return when it has ended.

        Within an action this returns at once, without running `action`.
        """
        if self._runner == threading.get_ident():
            return
        self._free.acquire()
        self._actions.append(action)
        self._run()
        while self._actions and self._free.acquire(blocking=False):
            self._run()

    def _run(self) -> None:
        """Run all actions, then release `_free`, which the caller has acquired."""
        self._runner = threading.get_ident()
        try:
            while self._actions:
                self._actions.popleft()()
        finally:
            self._runner = None
            self._free.release()

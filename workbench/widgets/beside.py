"""Work beside the kernel's other work, none of whose exceptions is lost."""

import asyncio
from collections.abc import Coroutine

from .events import ErrorPanel

_tasks: set[asyncio.Task] = set()  # a loop holds its tasks only weakly


def has_loop() -> bool:
    """Whether an event loop runs, as in a notebook and not in a script."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def start(work: Coroutine, errors: ErrorPanel) -> asyncio.Task | None:
    """Run `work` in the event loop, or to its end without one; its exceptions are shown in `errors`."""
    if not has_loop():
        return asyncio.run(_shown(work, errors))
    task = asyncio.get_running_loop().create_task(_shown(work, errors))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def _shown(work: Coroutine, errors: ErrorPanel) -> None:
    try:
        await work
    except Exception as error:
        errors.show(error)

"""Tasks of our own on a loop that handlers share: no handler can end one.

``asyncio.all_tasks()``, whose tasks a handler may cancel, does not name them, and they are made by no task factory of the user's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def serve(
    coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Task[T]:
    """As ``asyncio.create_task``. Whoever begins it must wait for its end: a loop that closes does not cancel it."""
    task = asyncio.Task(coroutine, loop=loop or asyncio.get_running_loop())
    asyncio._unregister_task(task)  # noqa: SLF001 - documented for makers of tasks
    return task


def is_foreign(error: BaseException) -> bool:
    """Whether user code on the loop has thrown this into our wait: a cancel of what it waits for, or an exit."""
    task = asyncio.current_task()
    return not isinstance(error, Exception | GeneratorExit) and (task is None or not task.cancelling())

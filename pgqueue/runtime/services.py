"""Makes asyncio tasks for pgqueue's own work, on an event loop that also runs handlers. Code of handlers must not end these tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Self, TypeVar
from weakref import WeakKeyDictionary, WeakSet

T = TypeVar("T")

_hidden: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[asyncio.Task[object]]] = WeakKeyDictionary()


def own_task(
    coroutine: Coroutine[object, object, T], loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Task[T]:
    """Like ``asyncio.create_task``, but does not use the loop's task factory, because a handler can have set a factory that fails."""
    return asyncio.Task(coroutine, loop=loop or asyncio.get_running_loop())


def hidden_task(
    coroutine: Coroutine[object, object, T], loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Task[T]:
    """Makes a task that ``asyncio.all_tasks()`` does not list, because a handler can cancel all listed tasks."""
    task = own_task(coroutine, loop)
    asyncio._unregister_task(task)  # noqa: SLF001 - asyncio documents it for authors of other classes of tasks
    _hidden.setdefault(task.get_loop(), WeakSet()).add(task)
    return task


def hidden_tasks(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[object]]:
    """Returns the hidden tasks that still run. asyncio does not cancel them at the end of the loop, so pgqueue does (contexts.py)."""
    return [task for task in _hidden.get(loop, ()) if not task.done()]


class Services:
    """Owns hidden tasks. The end of the ``async with`` block cancels the tasks that still run, and waits until they have ended."""

    def __init__(self) -> None:
        self.are_ending = False
        self._tasks: list[asyncio.Task[object]] = []

    def begin(self, coroutine: Coroutine[object, object, T]) -> asyncio.Task[T]:
        task = hidden_task(coroutine)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.are_ending = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def was_thrown_in(error: BaseException) -> bool:
    """Whether a handler or other user code caused ``error``, which was raised in pgqueue's code while that code awaited something.

    User code on the same event loop can cause such an error: it cancels the awaited task, or raises SystemExit or KeyboardInterrupt.
    """
    task = asyncio.current_task()
    return not isinstance(error, Exception | GeneratorExit) and (task is None or not task.cancelling())

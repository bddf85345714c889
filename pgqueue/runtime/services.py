"""Tasks of our own on a loop that handlers share."""

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
    """As ``asyncio.create_task``, but not by the loop's task factory: a handler may have set one that raises."""
    return asyncio.Task(coroutine, loop=loop or asyncio.get_running_loop())


def hidden_task(
    coroutine: Coroutine[object, object, T], loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Task[T]:
    """One that ``asyncio.all_tasks()`` does not name, because a handler may cancel all that it names."""
    task = own_task(coroutine, loop)
    asyncio._unregister_task(task)  # noqa: SLF001 - documented for makers of tasks
    _hidden.setdefault(task.get_loop(), WeakSet()).add(task)
    return task


def hidden_tasks(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[object]]:
    """Those that still run: asyncio does not see them, so the end of the loop must end them (contexts.py)."""
    return [task for task in _hidden.get(loop, ()) if not task.done()]


class Services:
    """Owns hidden tasks: those that still run at the end of its ``async with`` are cancelled, and it waits for their end."""

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
    """Whether user code on the loop has thrown this into our wait: a cancel of what it waits for, or an exit."""
    task = asyncio.current_task()
    return not isinstance(error, Exception | GeneratorExit) and (task is None or not task.cancelling())

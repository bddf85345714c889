"""Runs each attempt in a context of its own. Also runs an event loop until one asyncio task ends, even if jobs have left tasks on the loop.

If a handler sets a ContextVar (a tenant, a log context, ``decimal.setcontext``), other attempts do not see the new value. A handler and
its middleware share one context, whether they are sync or async. So each of them sees the values that the others have set. Middleware can
also reset a ContextVar after the handler, with the token that it got when it set the variable.
"""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator
from contextvars import Context, copy_context
from typing import TypeVar

from pgqueue.runtime.clock import new_loop
from pgqueue.runtime.interruption import cancelling
from pgqueue.runtime.services import hidden_task, hidden_tasks
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import EndOfWorkerAsked
from pgqueue.worker import forked

T = TypeVar("T")
STOPPED = "Event loop stopped before"  # the beginning of asyncio's message after a ``loop.stop()``


class OwnContext:
    """The context of one attempt on a thread. ``runner`` owns the loop of that thread."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._context = copy_context()

    def call(self, function: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        """Calls a user's function in this context. If it returns an awaitable, awaits it on this thread's loop, and returns the result."""
        value = self._context.run(function, *args, **kwargs)
        if value is None or not inspect.isawaitable(value):
            return value
        loop = self._runner.get_loop()
        task = loop.create_task(_ended(value), context=self._context)
        try:
            with cancelling(task):
                result, error = run_through(loop, task)
        # The loop failed, or another unexpected error came. The task must not go on while the next job runs on this loop.
        except BaseException:
            _end(loop, [task])
            raise
        if error is not None:
            raise error
        return result


def run_through(loop: asyncio.AbstractEventLoop, task: asyncio.Task[T]) -> T:
    """Runs a loop until ``task`` ends, and returns the task's result.

    If another task raises SystemExit or KeyboardInterrupt, or calls ``loop.stop()``, the loop is started again and goes on.
    """
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
            if task.done():
                raise
            if isinstance(error, RuntimeError) and not str(error).startswith(STOPPED):
                raise
            emit(EndOfWorkerAsked(error))


def run_alone(coroutine: Coroutine[object, object, T]) -> T:
    """Runs the coroutine like ``asyncio.run``, but goes on if another task raises SystemExit. At the end, ends pgqueue's tasks."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        loop = runner.get_loop()
        main = hidden_task(coroutine, loop)
        try:
            return run_through(loop, main)
        finally:
            loop.set_task_factory(
                None
            )  # tasks are still made while the loop ends, and a user's factory could make them fail
            _end(loop, [main])  # ``main`` ends first, because it can end the tasks that it has begun itself
            _end(loop, hidden_tasks(loop))


def _end(loop: asyncio.AbstractEventLoop, tasks: Collection[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        run_through(loop, hidden_task(asyncio.wait(tasks), loop))


async def _ended(value: Awaitable[object]) -> tuple[object, BaseException | None]:
    """Awaits ``value``. Returns its result and None, or None and its error.

    The error is returned instead of raised, because a SystemExit that a task raises would stop the loop.
    """
    try:
        return await value, None
    except BaseException as error:  # noqa: BLE001
        return None, error


@types.coroutine
def steps_in(
    context: Context, coroutine: Coroutine[object, object, T], waits: Callable[[], object] = lambda: None
) -> Generator[object, object, T]:
    """Awaits ``coroutine``, and runs all of its code in ``context``. Calls ``waits`` when the coroutine waits for the first time."""
    step: Callable[..., object] = coroutine.send
    value: object = None
    first = True
    while True:
        try:
            waited_for = context.run(step, value)
        except StopIteration as end:
            if forked.astray:
                forked.leave()
            result: T = end.value
            return result
        if forked.astray:
            forked.leave()
        if first:
            first = False
            waits()
        try:
            value = yield waited_for
            step = coroutine.send
        except BaseException as error:  # noqa: BLE001 - it is thrown into the coroutine
            step, value = coroutine.throw, error

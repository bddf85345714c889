"""Runs async handlers on the worker's loop.

As long as no handler has to wait at an ``await``, one asyncio task performs one attempt after the other, because making a new asyncio task
takes as long as a short job. When a handler waits for the first time, it keeps this asyncio task for itself. New asyncio tasks perform the
other attempts.

Each attempt has a context of its own: if its handler sets a ContextVar, the next attempt does not see the new value.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from pgqueue.app.app import App
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic
from pgqueue.runtime.services import own_task
from pgqueue.telemetry.tracing import is_traced
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion
from pgqueue.worker.running.call import perform_async
from pgqueue.worker.running.conclusions import failed
from pgqueue.worker.running.contexts import steps_in

TURN = 0.002  # if no handler waits, the loop can do other work after this many seconds


class Coroutines:
    """``finish`` is called with each attempt and its conclusion."""

    def __init__(self, app: App, finish: Callable[[Attempt, Conclusion], None]) -> None:
        self._app, self._finish = app, finish
        self._traced = is_traced()  # asked only once, because each call reads the environment
        self._ready: deque[tuple[TaskSpec, Attempt]] = deque()
        self._going: set[asyncio.Task[None]] = set()  # asyncio tasks that perform attempts of `_ready`
        self._kept: dict[Attempt, asyncio.Task[None]] = {}

    def start(self, spec: TaskSpec, attempt: Attempt) -> None:
        """Performs the attempt in a later step of the loop."""
        self._ready.append((spec, attempt))
        if not self._going:
            self._go_on()

    def stop(self, attempt: Attempt) -> None:
        """Cancels the attempt. If it has not begun, it ends immediately."""
        task = self._kept.get(attempt)
        if task is not None:
            task.cancel()
            return
        for item in self._ready:
            if item[1] is attempt:
                self._ready.remove(item)
                self._finish(attempt, failed(item[0], attempt, asyncio.CancelledError()))
                return

    def _go_on(self) -> None:
        task = own_task(self._perform_ready())
        self._going.add(task)
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        """Called when an asyncio task has ended. If it ended before `_ready` was empty, begins a new asyncio task for the rest."""
        self._going.discard(task)
        if self._ready and not self._going:
            self._go_on()

    async def _perform_ready(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        began = monotonic()
        while self._ready:
            spec, attempt = self._ready.popleft()
            performing = perform_async(spec, attempt, self._app, traced=self._traced)
            try:
                concluded = await steps_in(copy_context(), performing, partial(self._keep_task, attempt, me))
            except BaseException as error:  # noqa: BLE001 - an unexpected error must end only this attempt
                concluded = failed(spec, attempt, error)
            kept = self._kept.pop(attempt, None) is not None
            self._finish(attempt, concluded)
            if kept:
                return
            if me.cancelling():
                break  # the handler has cancelled this asyncio task, and the CancelledError that follows must not end another attempt
            if monotonic() - began > TURN:
                await asyncio.sleep(0)
                began = monotonic()
        self._gone(me)

    def _keep_task(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        """Called when the handler waits for the first time. From then on, the asyncio task belongs to this attempt alone.

        Up to two new asyncio tasks go on with the other attempts. Two tasks are used, so that many attempts begin within a few steps of the
        loop.
        """
        self._kept[attempt] = task
        self._going.discard(task)
        for _ in range(min(2, len(self._ready)) - len(self._going)):
            self._go_on()

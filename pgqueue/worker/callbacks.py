"""Calls the callbacks of ``@app.on(…)`` with what happens in this process.

Each callback has a queue and a thread of its own. So a callback that blocks delays no job and no other callback, and an error of a callback
is only logged. If a callback is so slow that its queue is full, it misses events, and a log line says so.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pgqueue.app.app import App
from pgqueue.model.worker_events import Callback, WorkerEvent, WorkerEventName
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import Fact, emit, subscribed
from pgqueue.telemetry.events.database import OutageBegun, TurnFailed
from pgqueue.telemetry.events.jobs import JobCompleted, JobDead, JobRetried
from pgqueue.telemetry.events.maintenance import JobStalled
from pgqueue.telemetry.events.users import CallbackBehind, CallbackFailed
from pgqueue.telemetry.events.workers import (
    ChildNotStarted,
    LeaseLost,
    LoopBlocked,
    ProcessDied,
    WorkerFailed,
)
from pgqueue.telemetry.log import text_of
from pgqueue.text.values import shown

ROOM = 10_000  # events that can wait for one callback
REPEATED = 60.0  # seconds until the next log line about the same callback
PATIENCE = 2.0  # seconds that a worker that ends leaves its callbacks for the last events

FACTS: dict[WorkerEventName, tuple[type[Any], ...]] = {
    "completed": (JobCompleted,),
    "failed": (JobRetried, JobDead),
    "stalled": (JobStalled,),
    "error": (OutageBegun, TurnFailed, LeaseLost, LoopBlocked, WorkerFailed, ChildNotStarted, ProcessDied),
}


@contextmanager
def called_back(app: App, is_mine: Callable[[int], bool] = lambda _: True) -> Iterator[None]:
    """During the block, calls the callbacks of the app. ``is_mine``: whether a worker's id is the id of this worker."""
    callers = [Caller(name, callback) for name, callbacks in app.callbacks.items() for callback in callbacks]
    with ExitStack() as stack:
        for caller in callers:
            for kind in FACTS[caller.event]:
                stack.enter_context(subscribed(kind, partial(caller.take, is_mine)))
        yield
    until = monotonic() + PATIENCE
    for caller in callers:
        caller.end(until)


class Caller:
    """Calls one callback on a thread, which begins with the first event."""

    def __init__(self, event: WorkerEventName, callback: Callback) -> None:
        self.event, self._callback = event, callback
        self._events: queue.Queue[WorkerEvent | None] = queue.Queue(ROOM)
        self._thread: threading.Thread | None = None
        self._name = callback.__qualname__ if inspect.isfunction(callback) else shown(callback)
        self._quiet_until = 0.0

    def take(self, is_mine: Callable[[int], bool], fact: Fact) -> None:
        run = getattr(fact, "run", None)
        if (run is not None and not is_mine(run.worker_id)) or (
            isinstance(fact, TurnFailed) and fact.kind == "conflict"
        ):
            return
        try:
            self._events.put_nowait(event_of(self.event, fact))
        except queue.Full:
            if self._may_say():
                emit(CallbackBehind(self._name, self.event, ROOM))
            return
        if self._thread is None:
            # In an empty context, because the first event can come from the context of a job.
            self._thread = threading.Thread(
                target=Context().run, args=[self._call_all], name=f"pgqueue {self.event}", daemon=True
            )
            self._thread.start()

    def end(self, until: float) -> None:
        """Waits until the callback has got all events, but only until this time."""
        if self._thread is None:
            return
        try:
            self._events.put(None, timeout=max(until - monotonic(), 0.01))
        except queue.Full:
            return
        self._thread.join(max(until - monotonic(), 0.0))

    def _call_all(self) -> None:
        with asyncio.Runner() as runner:
            while (event := self._events.get()) is not None:
                try:
                    said = self._callback(event)
                    if inspect.isawaitable(said):
                        runner.run(_awaited(said))
                except BaseException as error:  # noqa: BLE001 - a callback can raise any exception, even SystemExit
                    if self._may_say():
                        emit(CallbackFailed(self._name, self.event, error))

    def _may_say(self) -> bool:
        now = monotonic()
        if now < self._quiet_until:
            return False
        self._quiet_until = now + REPEATED
        return True


async def _awaited(said: Any) -> None:
    await said


def event_of(name: WorkerEventName, fact: Any) -> WorkerEvent:
    now = datetime.now(UTC)
    if isinstance(fact, JobStalled):
        return WorkerEvent(name, now, fact.worker_id, fact.job_id, fact.task, state=fact.state)
    if name == "error":
        return WorkerEvent(name, now, getattr(fact, "worker_id", None), error=text_of(fact))
    state = {JobCompleted: "completed", JobRetried: "retrying", JobDead: "dead"}[type(fact)]
    run = fact.run
    return WorkerEvent(
        name, now, run.worker_id, run.job_id, run.task, run.queue, run.attempt, run.max_attempts, state,
        getattr(fact, "error", None), fact.seconds, getattr(fact, "delay", None),
    )  # fmt: skip

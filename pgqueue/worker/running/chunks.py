"""Gathers attempts of a task whose handler takes a chunk of jobs in one call, and starts the call for each chunk.

Each attempt keeps its slot until it ends, so a chunk never has more attempts than the worker has slots. If an attempt is cancelled, runs out
of time, is released or loses its lease, only this attempt ends, and the call goes on for the other attempts. The handler's result for the
ended attempt no longer counts. When all attempts have ended, the call is stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Protocol

from pgqueue.app.app import App
from pgqueue.model.chunk import ChunkSpec
from pgqueue.runtime.services import own_task
from pgqueue.telemetry.tracing import is_traced
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending
from pgqueue.worker.running.children import Children, require_app_path
from pgqueue.worker.running.chunk_call import CHUNK, Chunk, chunk_failed, perform_chunk_async
from pgqueue.worker.running.conclusions import failed, too_late
from pgqueue.worker.running.contexts import steps_in
from pgqueue.worker.running.threads import Threads
from pgqueue.worker.running.work import WorkTasks

Begun = Callable[[Chunk], None]
Ended = Callable[[Chunk, list[Conclusion]], None]


class Performer(Protocol):
    """Performs chunks. Calls one function on the loop when a call begins, and another with the conclusions when the call has ended."""

    def start(self, spec: ChunkSpec, chunk: Chunk) -> None: ...

    def stop(self, chunk: Chunk) -> None:
        """Makes the call end soon, if it can be stopped from outside."""

    def tell(self, chunk: Chunk, attempt: Attempt) -> None:
        """Reports that this attempt has ended. The handler sees it when it next calls ``check``."""

    def close(self) -> None: ...


class Chunks:
    """The chunks of one task. ``finish`` is called with each attempt and its conclusion."""

    def __init__(
        self,
        spec: ChunkSpec,
        app: App,
        executor: str,
        *,
        slots: int,
        app_path: str | None,
        crash_limit: int,
        finish: Callable[[Attempt, Conclusion], None],
        keep_logs: bool = False,
    ) -> None:
        self._spec, self._finish = spec, finish
        self._size = min(spec.chunk, slots)
        self._gathered: list[Attempt] = []
        self._timer: asyncio.TimerHandle | None = None
        self._called: dict[Attempt, Chunk] = {}  # attempts in a call, until they end
        self._timers: dict[Attempt, asyncio.TimerHandle] = {}
        self._performer: Performer
        match executor:
            case "async" if spec.is_async:
                self._performer = ChunkCoroutines(app, self._spread, self._begun)
            case "async" | "thread":
                self._performer = Threads(app, self._spread, CHUNK, self._begun)
            case _:
                require_app_path(app_path, spec)
                self._performer = Children(
                    app_path, crash_limit, self._spread, CHUNK, self._begun, keep_logs=keep_logs
                )

    def start(self, _spec: object, attempt: Attempt) -> None:
        """Adds the attempt to the next chunk. The chunk is started when it is full, or ``chunk_wait`` seconds after its first attempt came."""
        self._gathered.append(attempt)
        if len(self._gathered) >= self._size:
            self._go()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._spec.chunk_wait, self._go)

    def stop(self, attempt: Attempt) -> None:
        """Ends the attempt immediately, even while the handler runs."""
        if attempt in self._gathered:
            self._gathered.remove(attempt)
            self._finish(attempt, failed(self._spec, attempt, asyncio.CancelledError()))
        elif attempt in self._called:
            self._end_alone(attempt)

    def close(self) -> None:
        self._performer.close()

    def _go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._gathered:
            return
        gathered, self._gathered = self._gathered, []
        chunk = Chunk([attempt for attempt in gathered if not self._is_too_late(attempt)])
        if not chunk.attempts:
            return
        self._called.update(dict.fromkeys(chunk.attempts, chunk))
        self._performer.start(self._spec, chunk)

    def _begun(self, chunk: Chunk) -> None:
        """Called when a call begins. From then on, the time limit of each attempt runs. The call itself has the longest of these limits."""
        loop, longest = asyncio.get_running_loop(), chunk.seconds_left()
        for attempt in chunk.attempts:
            left = attempt.seconds_left()
            if attempt in self._called and left is not None and (longest is None or left < longest):
                self._timers[attempt] = loop.call_later(left, self._time_out, attempt)

    def _is_too_late(self, attempt: Attempt) -> bool:
        """Ends the attempt if it expired, or its deadline passed, before its chunk was complete. Returns whether it ended."""
        conclusion = too_late(self._spec, attempt)
        if conclusion is not None:
            self._finish(attempt, conclusion)
        return conclusion is not None

    def _time_out(self, attempt: Attempt) -> None:
        if attempt in self._called:
            attempt.end(Ending.TIMED_OUT)
            self._end_alone(attempt)

    def _end_alone(self, attempt: Attempt) -> None:
        chunk = self._called[attempt]
        self._performer.tell(chunk, attempt)
        self._end(attempt, failed(self._spec, attempt, asyncio.CancelledError()))
        if not any(self._called.get(other) is chunk for other in chunk.attempts):
            self._performer.stop(chunk)

    def _spread(self, chunk: Chunk, conclusions: list[Conclusion]) -> None:
        for attempt, conclusion in zip(chunk.attempts, conclusions, strict=True):
            if self._called.get(attempt) is chunk:
                self._end(attempt, conclusion)

    def _end(self, attempt: Attempt, conclusion: Conclusion) -> None:
        del self._called[attempt]
        if attempt in self._timers:
            self._timers.pop(attempt).cancel()
        self._finish(attempt, conclusion)


class ChunkCoroutines:
    """Calls of async handlers on the worker's loop, each in a task of its own."""

    def __init__(self, app: App, finish: Ended, begun: Begun) -> None:
        self._app, self._finish, self._begun = app, finish, begun
        self._traced = is_traced()
        self._tasks = WorkTasks[Chunk](own_task, self._end_unbegun)

    def start(self, spec: ChunkSpec, chunk: Chunk) -> None:
        self._begun(chunk)
        self._tasks.start(spec, chunk, self._perform(spec, chunk))

    def stop(self, chunk: Chunk) -> None:
        self._tasks.stop(chunk)

    async def _perform(self, spec: ChunkSpec, chunk: Chunk) -> None:
        performing = perform_chunk_async(spec, chunk, self._app, traced=self._traced)
        try:
            conclusions = await steps_in(copy_context(), performing)
        except BaseException as error:  # noqa: BLE001 - an unexpected error must still end these attempts
            conclusions = chunk_failed(spec, chunk, error)
        self._finish(chunk, conclusions)

    def _end_unbegun(self, spec: ChunkSpec, chunk: Chunk) -> None:
        self._finish(chunk, chunk_failed(spec, chunk, asyncio.CancelledError()))

    def tell(self, chunk: Chunk, attempt: Attempt) -> None:
        """Does nothing. Handler and worker use the same Attempt object, so the handler sees the ending anyway."""

    def close(self) -> None:
        """Does nothing, because nothing is kept after a call."""

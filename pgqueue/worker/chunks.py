"""Gathers attempts of a task that takes many at once, and has each chunk performed in one call.

Each attempt holds its slot from its claim to its own end, so a chunk is never larger than the worker's slots. One that times
out, is released or loses its lease ends alone, while the call goes on for the others; the call is stopped when none is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from pgqueue.app import App
from pgqueue.chunk import ChunkSpec
from pgqueue.errors import InvalidSettingError
from pgqueue.outcome import Outcome
from pgqueue.telemetry import is_traced
from pgqueue.worker.attempt import Attempt, failed, timeout_error
from pgqueue.worker.children import Children
from pgqueue.worker.chunk_calls import Chunk, chunk_failed, perform_chunk, perform_chunk_async
from pgqueue.worker.threads import Threads

Ended = Callable[[Chunk, list[Outcome | None]], None]


class Performer(Protocol):
    """Performs chunks, and tells of the outcomes of each on the loop."""

    def start(self, spec: ChunkSpec, chunk: Chunk) -> None: ...

    def stop(self, chunk: Chunk) -> None:
        """Makes the call end soon, if that can be done from outside."""

    def close(self) -> None: ...


class Chunks:
    """The chunks of one task. ``finish`` is called with each outcome."""

    def __init__(
        self,
        spec: ChunkSpec,
        app: App,
        executor: str,
        *,
        slots: int,
        app_path: str | None,
        crash_limit: int,
        finish: Callable[[Attempt, Outcome | None], None],
    ) -> None:
        self._spec, self._finish = spec, finish
        self._size = min(spec.chunk, slots)
        self._gathered: list[Attempt] = []
        self._timer: asyncio.TimerHandle | None = None
        self._called: dict[Attempt, Chunk] = {}  # those whose end is still to come
        self._performer: Performer
        match executor:
            case "async" if spec.is_async:
                self._performer = ChunkCoroutines(app, self._spread)
            case "async" | "thread":
                self._performer = ChunkThreads(app, self._spread)
            case _ if app_path is None:
                raise InvalidSettingError(
                    f"Task {spec.name} runs in a child process, which must be able to import the app.",
                    do="start the worker with pgq work -A module:app",
                )
            case _:
                self._performer = ChunkChildren(app_path, crash_limit, self._spread)

    def start(self, _spec: Any, attempt: Attempt) -> None:
        """Has the attempt performed with the next ones that come within the task's wait."""
        self._gathered.append(attempt)
        if len(self._gathered) >= self._size:
            self._go()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._spec.chunk_wait, self._go)

    def stop(self, attempt: Attempt) -> None:
        """One that waits ends at once. Of a call, it only tells the handler, until nobody waits for what it does."""
        if attempt in self._gathered:
            self._gathered.remove(attempt)
            self._finish(attempt, failed(self._spec, attempt, asyncio.CancelledError()))
            return
        chunk = self._called.get(attempt)
        if chunk is None:
            return
        if attempt.lost or attempt.released:
            self._end(attempt, failed(self._spec, attempt, asyncio.CancelledError()))
        self._stop_idle(chunk)

    def close(self) -> None:
        self._performer.close()

    def _go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._gathered:
            return
        chunk = Chunk(self._gathered)
        self._gathered = []
        loop = asyncio.get_running_loop()
        for attempt in chunk.attempts:
            self._called[attempt] = chunk
            if attempt.timeout is not None and attempt.timeout != chunk.timeout:
                loop.call_later(attempt.timeout, self._time_out, attempt, chunk)
        self._performer.start(self._spec, chunk)

    def _time_out(self, attempt: Attempt, chunk: Chunk) -> None:
        if self._called.get(attempt) is chunk:
            attempt.timed_out = True
            self._end(attempt, failed(self._spec, attempt, timeout_error(attempt)))
            self._stop_idle(chunk)

    def _stop_idle(self, chunk: Chunk) -> None:
        if not any(self._called.get(other) is chunk and not other.cancelled for other in chunk.attempts):
            self._performer.stop(chunk)

    def _spread(self, chunk: Chunk, outcomes: list[Outcome | None]) -> None:
        for attempt, outcome in zip(chunk.attempts, outcomes, strict=True):
            if self._called.get(attempt) is chunk:
                self._end(attempt, outcome)

    def _end(self, attempt: Attempt, outcome: Outcome | None) -> None:
        del self._called[attempt]
        self._finish(attempt, outcome)


class ChunkCoroutines:
    """Calls of async handlers on the worker's loop, each in a task of its own."""

    def __init__(self, app: App, finish: Ended) -> None:
        self._app, self._finish = app, finish
        self._traced = is_traced()
        self._tasks: dict[Chunk, asyncio.Task[None]] = {}

    def start(self, spec: ChunkSpec, chunk: Chunk) -> None:
        task = self._tasks[chunk] = asyncio.get_running_loop().create_task(self._perform(spec, chunk))
        task.add_done_callback(partial(self._end_unbegun, spec, chunk))

    def stop(self, chunk: Chunk) -> None:
        if chunk in self._tasks:
            self._tasks[chunk].cancel()

    async def _perform(self, spec: ChunkSpec, chunk: Chunk) -> None:
        self._finish(chunk, await perform_chunk_async(spec, chunk, self._app, traced=self._traced))

    def _end_unbegun(self, spec: ChunkSpec, chunk: Chunk, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step never takes one: its attempts end here."""
        del self._tasks[chunk]
        if task.cancelled():
            self._finish(chunk, chunk_failed(spec, chunk, asyncio.CancelledError()))

    def close(self) -> None:
        """Nothing is kept for the next chunk."""


class ChunkThreads(Threads):
    perform = staticmethod(perform_chunk)
    failed = staticmethod(chunk_failed)


class ChunkChildren(Children):
    failed = staticmethod(chunk_failed)

    async def hand_over(self, child: asyncio.subprocess.Process, attempt: Any) -> Any:
        return await self.ask(child, attempt.attempts)

"""Gathers attempts of a task that takes many at once, and has each chunk performed in one call.

Each attempt holds its slot from its claim to its own end, so a chunk is never larger than the worker's slots. One that is
cancelled, has no time left, is released or loses its lease ends alone, while the call goes on for the others: what the handler
returns for it no longer counts. The call is stopped when none is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol

from pgqueue.app.app import App
from pgqueue.errors import InvalidSettingError
from pgqueue.model.chunk import ChunkSpec
from pgqueue.model.outcome import Outcome
from pgqueue.runtime.services import own_task
from pgqueue.telemetry.tracing import is_traced
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.running.children import Child, Children, encode_end
from pgqueue.worker.running.chunk_call import Chunk, chunk_failed, perform_chunk, perform_chunk_async
from pgqueue.worker.running.contexts import steps_in
from pgqueue.worker.running.endings import failed, too_late
from pgqueue.worker.running.threads import Threads

Begun = Callable[[Chunk], None]
Ended = Callable[[Chunk, list[Outcome | None]], None]


class Performer(Protocol):
    """Performs chunks, and tells on the loop when each call begins, and of the outcomes of each."""

    def start(self, spec: ChunkSpec, chunk: Chunk) -> None: ...

    def stop(self, chunk: Chunk) -> None:
        """Makes the call end soon, if that can be done from outside."""

    def tell(self, chunk: Chunk, attempt: Attempt) -> None:
        """Has the handler know, when it checks, that this attempt has ended."""

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
        self._timers: dict[Attempt, asyncio.TimerHandle] = {}
        self._performer: Performer
        match executor:
            case "async" if spec.is_async:
                self._performer = ChunkCoroutines(app, self._spread, self._begun)
            case "async" | "thread":
                self._performer = ChunkThreads(app, self._spread, self._begun)
            case _ if app_path is None:
                raise InvalidSettingError(
                    f"Task {spec.name} runs in a child process, which must be able to import the app.",
                    do="start the worker with pgq work -A module:app",
                )
            case _:
                self._performer = ChunkChildren(app_path, crash_limit, self._spread, self._begun)

    def start(self, _spec: Any, attempt: Attempt) -> None:
        """Has the attempt performed with the next ones that come within the task's wait."""
        self._gathered.append(attempt)
        if len(self._gathered) >= self._size:
            self._go()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._spec.chunk_wait, self._go)

    def stop(self, attempt: Attempt) -> None:
        """It ends at once, also while the handler runs."""
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
        """The call begins, and so does the time of each attempt; that of the longest is the call's."""
        loop, longest = asyncio.get_running_loop(), chunk.seconds_left()
        for attempt in chunk.attempts:
            limit = attempt.seconds_left()
            if attempt in self._called and limit is not None and (longest is None or limit < longest):
                self._timers[attempt] = loop.call_later(limit, self._time_out, attempt)

    def _is_too_late(self, attempt: Attempt) -> bool:
        """Whether it expired, or its deadline passed, while it waited for others: then it ends here."""
        outcome = too_late(self._spec, attempt)
        if outcome is not None:
            self._finish(attempt, outcome)
        return outcome is not None

    def _time_out(self, attempt: Attempt) -> None:
        if attempt in self._called:
            attempt.timed_out = True
            self._end_alone(attempt)

    def _end_alone(self, attempt: Attempt) -> None:
        chunk = self._called[attempt]
        self._performer.tell(chunk, attempt)
        self._end(attempt, failed(self._spec, attempt, asyncio.CancelledError()))
        if not any(self._called.get(other) is chunk for other in chunk.attempts):
            self._performer.stop(chunk)

    def _spread(self, chunk: Chunk, outcomes: list[Outcome | None]) -> None:
        for attempt, outcome in zip(chunk.attempts, outcomes, strict=True):
            if self._called.get(attempt) is chunk:
                self._end(attempt, outcome)

    def _end(self, attempt: Attempt, outcome: Outcome | None) -> None:
        del self._called[attempt]
        if attempt in self._timers:
            self._timers.pop(attempt).cancel()
        self._finish(attempt, outcome)


class ChunkCoroutines:
    """Calls of async handlers on the worker's loop, each in a task of its own."""

    def __init__(self, app: App, finish: Ended, begun: Begun) -> None:
        self._app, self._finish, self._begun = app, finish, begun
        self._traced = is_traced()
        self._tasks: dict[Chunk, asyncio.Task[None]] = {}

    def start(self, spec: ChunkSpec, chunk: Chunk) -> None:
        self._begun(chunk)
        task = self._tasks[chunk] = own_task(self._perform(spec, chunk))
        task.add_done_callback(partial(self._end_unbegun, spec, chunk))

    def stop(self, chunk: Chunk) -> None:
        if chunk in self._tasks:
            self._tasks[chunk].cancel()

    async def _perform(self, spec: ChunkSpec, chunk: Chunk) -> None:
        performing = perform_chunk_async(spec, chunk, self._app, traced=self._traced)
        try:
            outcomes = await steps_in(copy_context(), performing)
        except BaseException as error:  # noqa: BLE001 - of nothing that is known
            outcomes = chunk_failed(spec, chunk, error)
        self._finish(chunk, outcomes)

    def _end_unbegun(self, spec: ChunkSpec, chunk: Chunk, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step never takes one: its attempts end here."""
        del self._tasks[chunk]
        if task.cancelled():
            self._finish(chunk, chunk_failed(spec, chunk, asyncio.CancelledError()))

    def tell(self, chunk: Chunk, attempt: Attempt) -> None:
        """The handler has the attempt itself."""

    def close(self) -> None:
        """Nothing is kept for the next chunk."""


class ChunkThreads(Threads):
    perform = staticmethod(perform_chunk)
    failed = staticmethod(chunk_failed)

    def __init__(self, app: App, finish: Ended, begun: Begun) -> None:
        super().__init__(app, finish)
        self._begun = begun

    def start(self, spec: Any, attempt: Any) -> None:
        self._begun(attempt)
        super().start(spec, attempt)

    def tell(self, chunk: Chunk, attempt: Attempt) -> None:
        """The handler has the attempt itself."""


class ChunkChildren(Children):
    failed = staticmethod(chunk_failed)

    def __init__(self, app_path: str | None, crash_limit: int, finish: Ended, begun: Begun) -> None:
        super().__init__(app_path, crash_limit, finish)
        self._begun = begun
        self._at_work: dict[Chunk, Child] = {}

    async def hand_over(self, child: Child, spec: Any, attempt: Any) -> Any:
        """What ended, or came too late, while the child was started, does not take part."""
        ended = {one: too_late(spec, one) for one in attempt.attempts}
        held = [one for one, outcome in ended.items() if outcome is None and not is_over(one)]
        if held:
            self._at_work[attempt] = child
            self._begun(attempt)
            try:
                async with asyncio.timeout(attempt.seconds_left()):
                    ended.update(zip(held, await self.ask(child, held), strict=True))
            finally:
                del self._at_work[attempt]
        return list(ended.values())

    def tell(self, chunk: Chunk, attempt: Attempt) -> None:
        child = self._at_work.get(chunk)
        if child is not None:
            child.tell(encode_end(attempt))

    def postponed(self, attempt: Any, delay: float, error: Exception) -> Any:
        return [super(ChunkChildren, self).postponed(one, delay, error) for one in attempt.attempts]


def is_over(attempt: Attempt) -> bool:
    return attempt.cancelled or attempt.lost or attempt.released or attempt.timed_out

"""What executors perform: single attempts, and chunks of them. This module holds all that an executor needs to know of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from pgqueue.model.task import TaskSpec
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending


class Work(Protocol):
    """An ``Attempt`` or a ``Chunk``: what one call of a handler takes."""

    @property
    def ending(self) -> Ending: ...
    def end(self, ending: Ending) -> bool: ...
    def seconds_left(self) -> float | None: ...


W = TypeVar("W", bound=Work)
C = TypeVar("C")  # what work comes to: a Conclusion, or the Conclusions of a chunk


@dataclass(frozen=True)
class Kind(Generic[W, C]):
    """What can be done with one kind of work: ``SINGLE`` in call.py, ``CHUNK`` in chunk_call.py.

    ``perform`` calls the handler on a thread, and ``failed`` concludes a call that ended from outside.
    """

    perform: Callable[..., C]
    failed: Callable[..., C]
    attempts: Callable[[W], list[Attempt]]
    together: Callable[[list[Conclusion]], C]  # from what each of the attempts comes to


class WorkTasks(Generic[W]):
    """Tasks of a loop, one for each work."""

    def __init__(
        self,
        begin: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
        never_begun: Callable[[Any, W], object],
    ) -> None:
        """If a task is cancelled before its first step, it never begins. Then ``never_begun`` is called with the spec and the work."""
        self._begin, self._never_begun = begin, never_begun
        self._tasks: dict[W, asyncio.Task[None]] = {}

    def start(self, spec: TaskSpec, work: W, performing: Coroutine[object, object, None]) -> None:
        task = self._tasks[work] = self._begin(performing)
        task.add_done_callback(partial(self._ended, spec, work))

    def stop(self, work: W) -> None:
        if work in self._tasks:
            self._tasks[work].cancel()

    def _ended(self, spec: TaskSpec, work: W, task: asyncio.Task[None]) -> None:
        del self._tasks[work]
        if task.cancelled():
            self._never_begun(spec, work)


class TimeLimit:
    """``async with TimeLimit(work):`` is ``asyncio.timeout`` for the time that is left to the work. If that timeout ends, the work has timed out."""

    __slots__ = ("_timeout", "_work")

    def __init__(self, work: Work) -> None:
        self._work = work
        self._timeout = asyncio.timeout(work.seconds_left())

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        finally:
            if error is not None:
                self.note()

    def note(self) -> None:
        """Notes that the time is up, if it is."""
        if self._timeout.expired():
            self._work.end(Ending.TIMED_OUT)

"""The work that executors perform: single attempts, and chunks of attempts.

Because of these classes, executors treat both in the same way.
"""

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
    """An ``Attempt`` or a ``Chunk``: the work that one call of a handler does."""

    @property
    def ending(self) -> Ending: ...
    def end(self, ending: Ending) -> bool: ...
    def seconds_left(self) -> float | None: ...


W = TypeVar("W", bound=Work)
C = TypeVar("C")  # the result of work: the Conclusion of an attempt, or the Conclusions of a chunk


@dataclass(frozen=True)
class Kind(Generic[W, C]):
    """The functions for one kind of work. There are two kinds: ``SINGLE`` in call.py, and ``CHUNK`` in chunk_call.py.

    ``perform`` calls the handler on a thread. ``failed`` makes the result of a call that ended in an error or was ended from outside.
    """

    perform: Callable[..., C]
    failed: Callable[..., C]
    attempts: Callable[[W], list[Attempt]]
    together: Callable[
        [list[Conclusion]], C
    ]  # makes the result of the work from the conclusions of its attempts


class WorkTasks(Generic[W]):
    """The asyncio tasks that perform work: one for each single attempt or chunk."""

    def __init__(
        self,
        begin: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
        never_begun: Callable[[Any, W], object],
    ) -> None:
        """``never_begun`` is called with the spec and the work if an asyncio task ends as cancelled, for example before its first step."""
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
    """An ``asyncio.timeout`` of the seconds that the work has left. If these seconds run out, marks the work as timed out."""

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
        """If the time has run out, marks the work as timed out."""
        if self._timeout.expired():
            self._work.end(Ending.TIMED_OUT)

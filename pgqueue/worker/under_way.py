"""Counts the steps of one attempt that are under way, so that the attempt is suspended only after they have ended.

A handler can do several things at the same time, on threads or as asyncio tasks. If one of them sleeps, the steps of the others must still be
stored. So a call that suspends the attempt waits here until all other calls have ended, or suspend the attempt, too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar

# Whether the code that runs is the function of a step. Such a function cannot suspend the attempt, because it would wait for its own end.
_in_step: ContextVar[bool] = ContextVar("pgqueue_in_step", default=False)


class CallsUnderWay:
    """Threads and asyncio tasks can call its methods at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._waiting: list[Future[None]] = []
        self.is_closed = (
            False  # whether ``idle`` has found no call under way; no further step begins from then on
        )

    @contextmanager
    def one(self) -> Iterator[None]:
        """A call is under way during the block."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """During the block, a call that is under way does not count."""
        self._end()
        try:
            yield
        finally:
            self._begin()

    def idle(self) -> Future[None] | None:
        """Returns None if no call is under way. Otherwise returns a future that ends as soon as this can have changed."""
        with self._lock:
            if not self._count:
                self.is_closed = True
                return None
            future: Future[None] = Future()
            self._waiting.append(future)
            return future

    def _begin(self) -> None:
        with self._lock:
            self._count += 1

    def _end(self) -> None:
        with self._lock:
            self._count -= 1
            if self._count:
                return
            waiting, self._waiting = self._waiting, []
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_result(None)


@contextmanager
def in_step() -> Iterator[None]:
    """The function of a step runs during the block."""
    token = _in_step.set(True)
    try:
        yield
    finally:
        with suppress(ValueError):  # a coroutine that is thrown away is closed in another context
            _in_step.reset(token)


def is_in_step() -> bool:
    return _in_step.get()

"""Counts the steps of one attempt that are under way, so that the attempt is suspended only after they have ended.

A handler can do several things at the same time, on threads or as asyncio tasks. If one of them sleeps, the steps of the others must still be
stored. So a call that suspends the attempt waits here until all other calls have ended, or suspend the attempt, too. A step that an attempt
takes twice is refused here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar

from pgqueue.errors import DuplicateStepError
from pgqueue.model.steps import StepId, named

# Whether the code that runs is the function of a step. Such a function cannot suspend the attempt, because it would wait for its own end.
_in_step: ContextVar[bool] = ContextVar("pgqueue_in_step", default=False)


class CallsUnderWay:
    """Threads and asyncio tasks can call its methods at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._taken: set[StepId] = set()  # steps that are being done, or that the attempt has done
        self._waiting: list[Future[None]] = []
        self.is_closed = (
            False  # whether ``idle`` has found no call under way; no further step begins from then on
        )

    def taking(self, me: StepId) -> AbstractContextManager[None]:
        """The step is done during the block. Raises DuplicateStepError if it is done already. After an error, it can be taken again."""
        return _Taking(self, me)

    def take(self, me: StepId) -> None:
        """Begins the block of ``taking``."""
        with self._lock:
            if me in self._taken:
                raise DuplicateStepError(
                    f"Step {named(me)} is taken twice in this attempt.",
                    why="the second one would get the value of the first one",
                    do=f'give each its own key, such as job.step(("{me[0]}", n), …)',
                )
            self._taken.add(me)
            self._count += 1

    def leave(self, me: StepId, *, failed: bool) -> None:
        """Ends the block of ``taking``."""
        if failed:
            self._taken.discard(me)
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


class _Taking:
    """The block of ``taking``. It is a class because a generator would take several times as long."""

    __slots__ = ("_calls", "_me")

    def __init__(self, calls: CallsUnderWay, me: StepId) -> None:
        self._calls, self._me = calls, me

    def __enter__(self) -> None:
        self._calls.take(self._me)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._calls.leave(self._me, failed=kind is not None)


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

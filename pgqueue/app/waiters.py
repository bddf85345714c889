"""All waits for the end of a job in this process share one thread and one connection (``app/lookout.py``).

The thread has an event loop of its own. So it works for any number of waits, for callers with any loop, and while
a test freezes the clock. The first wait starts the thread, and the thread ends some seconds after the last wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator

from pgqueue.app.lookout import OVER, Lookout, Waiter, running
from pgqueue.model.job import Job
from pgqueue.runtime import forks
from pgqueue.runtime.clock import monotonic

PAUSE = 0.5  # seconds; a waiting thread can be interrupted once in this time


class Waiters:
    """All waits of this process. Can be used on any thread, in any event loop, and after a fork."""

    def __init__(self, dsn: Callable[[], str]) -> None:
        self._dsn = dsn
        self._lookout: Lookout | None = None
        self._lock = threading.Lock()
        forks.tell(self)

    def forked(self) -> None:
        forks.keep(self._lookout)
        self._lookout, self._lock = None, threading.Lock()
        running.clear()

    def looks(
        self, job_id: int, timeout: float | None, *, watched: bool
    ) -> Generator[Job | None, None, None]:
        """Yields the job when it has ended (None: there is no such job). If ``watched``, also yields it each time that it is read before.

        Ends after ``timeout``.
        """
        found: queue.SimpleQueue[Job | BaseException | None] = queue.SimpleQueue()
        with self._waiting(Waiter(job_id, _end(timeout), watched, found.put)):
            while (look := _taken(found)) is not OVER:
                yield _given(look)

    async def alooks(
        self, job_id: int, timeout: float | None, *, watched: bool
    ) -> AsyncGenerator[Job | None, None]:
        """``looks`` for async callers."""
        found: asyncio.Queue[Job | BaseException | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(look: Job | BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its waiter is gone with it
                loop.call_soon_threadsafe(found.put_nowait, look)

        with self._waiting(Waiter(job_id, _end(timeout), watched, put)):
            while (look := await found.get()) is not OVER:
                yield _given(look)

    @contextlib.contextmanager
    def _waiting(self, waiter: Waiter) -> Iterator[None]:
        with self._lock:
            if self._lookout is None or not self._lookout.add(waiter):
                self._lookout = Lookout(self._dsn(), waiter)
            lookout = self._lookout
        try:
            yield
        finally:
            lookout.remove(waiter)

    def close(self) -> None:
        """Closes the connection after the last wait or, if there is no wait, now."""
        with self._lock:
            lookout, self._lookout = self._lookout, None
        if lookout is not None:
            lookout.close()


def _end(timeout: float | None) -> float | None:
    return None if timeout is None else monotonic() + timeout


def _taken(found: queue.SimpleQueue[Job | BaseException | None]) -> Job | BaseException | None:
    """Waits in slices of PAUSE seconds, because a handler on a thread can be interrupted only between two slices."""
    while True:
        with contextlib.suppress(queue.Empty):
            return found.get(timeout=PAUSE)


def _given(look: Job | BaseException | None) -> Job | None:
    if isinstance(look, BaseException):
        raise look
    return look

"""One answer for all who ask at about the same time, so that many probes cannot load this process or the database."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from pgqueue.runtime.clock import monotonic

T = TypeVar("T")
FRESH = 1.0  # seconds for which an answer serves those who ask later


class SharedAnswer(Generic[T]):
    """``ask`` is called on a thread of its own, never twice at the same time. It must raise nothing, and must end by itself."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._look: asyncio.Future[T] | None = None
        self._done_at = 0.0

    async def get(self, patience: float) -> T | None:
        """Returns the answer. None if there is none after ``patience`` seconds; the thread goes on, and a later call gets its answer."""
        if self._look is None or (self._look.done() and monotonic() - self._done_at > FRESH):
            self._look = self._begin()
        done, _ = await asyncio.wait({self._look}, timeout=patience)
        return self._look.result() if done else None

    def _begin(self) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        look: asyncio.Future[T] = loop.create_future()

        def finish(answer: T) -> None:
            self._done_at = monotonic()
            look.set_result(answer)

        def work() -> None:
            answer = self._ask()
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(finish, answer)

        # No executor, because the end of the process would wait for an executor's threads.
        threading.Thread(target=work, name="pgqueue health answer", daemon=True).start()
        return look

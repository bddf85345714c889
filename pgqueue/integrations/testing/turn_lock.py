"""Lets the statements on one connection take turns, whichever thread or event loop sends them."""

from __future__ import annotations

import asyncio
import threading

from pgqueue.errors import WrongConnectionError
from pgqueue.runtime.clock import monotonic

PATIENCE = (
    10.0  # seconds; a statement of a test that takes longer than this waits for a lock, or for its own caller
)
PAUSE = 0.001


class TurnLock:
    """Takes the place of the lock of a psycopg connection. It works with ``with`` and with ``async with``.

    psycopg locks a connection of sync callers against other threads, and one of async callers against other tasks. A test can have both
    kinds of callers on one connection.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=PATIENCE):
            raise _too_late()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    async def __aenter__(self) -> None:
        until = monotonic() + PATIENCE
        while not self._lock.acquire(blocking=False):
            if monotonic() > until:
                raise _too_late()
            await asyncio.sleep(PAUSE)

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()


def _too_late() -> WrongConnectionError:
    return WrongConnectionError(
        f"The test's connection was in use for more than {PATIENCE:g} s.",
        why="another thread or task has sent a statement on it, and that statement has not ended",
        do="wait for that call before the next one; on an event loop, use the async twin: aenqueue, adrain",
    )

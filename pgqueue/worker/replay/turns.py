"""The blocks of one connection take turns, because their savepoints must be nested, and must not interleave.

A block that is opened inside another one, in the same thread or asyncio task, nests. A block of another thread or task waits until the
open block has ended.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from pgqueue.errors import PoolExhaustedError

PATIENCE = 30.0  # seconds; as long as a handler waits for a connection of a pool


class Turns:
    """The turns of a connection for threads."""

    def __init__(self) -> None:
        self._inner: ContextVar[threading.Lock] = ContextVar("_inner")
        self._outermost = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        outer = self._inner.get(self._outermost)
        if not outer.acquire(timeout=PATIENCE):
            raise _too_long()
        try:
            self._inner.set(threading.Lock())  # for the blocks inside this one
            yield
        finally:
            self._inner.set(outer)
            outer.release()


class AsyncTurns:
    """The turns of a connection for the asyncio tasks of one loop."""

    def __init__(self) -> None:
        self._inner: ContextVar[asyncio.Lock] = ContextVar("_inner")
        self._outermost = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        outer = self._inner.get(self._outermost)
        try:
            async with asyncio.timeout(PATIENCE):
                await outer.acquire()
        except TimeoutError:
            raise _too_long() from None
        try:
            self._inner.set(asyncio.Lock())
            yield
        finally:
            self._inner.set(outer)
            outer.release()


def _too_long() -> PoolExhaustedError:
    return PoolExhaustedError(
        f"A block of the handler waited {PATIENCE:g} s for another block of the handler to end.",
        why="in a replay, all blocks on one kind of connection share one transaction, and take turns",
        do="end one block before a thread or an asyncio task of the handler opens the next",
    )

"""The pool of one event loop. It loses no connection if its callers are cancelled, and it lets its loop end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pgqueue.errors import PgQueueError
from pgqueue.runtime.services import own_task

T = TypeVar("T")

CLOSING = 1.0  # when a loop ends, it waits at most this many seconds for a connection that is being opened


class CancellablePool(AsyncConnectionPool[AsyncConnection]):
    """A pool of psycopg whose workers end when they are cancelled.

    At its end, ``asyncio.run`` cancels all tasks, and then waits for them. A worker that opens a connection just then takes the cancel for
    an error of the connection, and would go on. So ``asyncio.run`` would wait for it for ever.
    """

    @classmethod
    async def worker(cls, q: Any) -> None:
        await super().worker(UntilCancelled(q))  # type: ignore[arg-type]


class UntilCancelled(Generic[T]):
    """A queue from which a task that was cancelled gets nothing more, even if other code has caught its CancelledError."""

    def __init__(self, queue: asyncio.Queue[T]) -> None:
        self._queue = queue

    async def get(self) -> T:
        me = asyncio.current_task()
        if me is not None and me.cancelling():
            raise asyncio.CancelledError
        return await self._queue.get()


@dataclass(eq=False)
class LoopPool:
    """The pool of one event loop. ``connections``: all connections that it has opened. ``tasks``: what it does for callers just now.

    ``missed``: a search for a connection that goes on although its caller has given up, and why the server did not answer that caller.
    """

    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    pool: CancellablePool | None = None
    connections: WeakSet[AsyncConnection] = field(default_factory=WeakSet)
    tasks: set[asyncio.Task[object]] = field(default_factory=set)  # a loop keeps no task alive by itself
    missed: tuple[asyncio.Task[AsyncConnection], PgQueueError] | None = None

    async def take(self, steps: Coroutine[object, object, AsyncConnection]) -> AsyncConnection:
        """Takes a connection by these steps. If the caller is cancelled meanwhile, the connection goes back to the pool when it comes."""
        return await self._taken(self._task(steps))

    async def take_soon(
        self,
        steps: Coroutine[object, object, AsyncConnection],
        patience: float,
        why: Callable[[], Awaitable[PgQueueError | None]],
    ) -> AsyncConnection:
        """``take``, for at most ``patience`` seconds. Then asks ``why`` the server is away; None: it answers. Raises that, or PoolTimeout.

        If the server is away, the search goes on without its caller. Until it ends, the calls of others fail at once. So callers do not pile
        up, and the first one after the outage is served.
        """
        if self.missed is not None and not self.missed[0].done():
            steps.close()
            raise copy(self.missed[1])
        taking = self._task(steps)
        try:
            async with asyncio.timeout(patience):
                return await self._taken(taking)
        except TimeoutError:
            if (reason := await why()) is None:
                raise PoolTimeout from None
            self.missed = (taking, reason)
            raise copy(reason) from None

    async def _taken(self, taking: asyncio.Task[AsyncConnection]) -> AsyncConnection:
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._task(self._give_back(taking))
            raise

    async def _give_back(self, taking: asyncio.Task[AsyncConnection]) -> None:
        # PoolTimeout, or why the server cannot be reached: then there is no connection to give back.
        with suppress(psycopg.Error, PgQueueError, OSError):
            taken = await taking
            assert self.pool is not None
            await self.pool.putconn(taken)

    async def uncancelled(self, steps: Coroutine[object, object, T]) -> T:
        """Awaits the steps. If the caller is cancelled meanwhile, the steps go on by themselves."""
        return await asyncio.shield(self._task(steps))

    def _task(self, steps: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Runs the steps in a task of their own, because a cancel inside the pool can lose a connection, and on Python 3.11 can be lost itself."""
        task = own_task(steps)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def close(self) -> None:
        if self.pool is not None:
            await self.pool.close(CLOSING)

    def abandon(self) -> None:
        """Closes the sockets of the connections. The loop is closed, so the pool itself cannot be closed in the normal way."""
        for connection in list(self.connections):
            connection.pgconn.finish()
        if self.pool is not None:
            self.pool._closed = True  # noqa: SLF001 - otherwise the finalizer of the pool would use the closed loop

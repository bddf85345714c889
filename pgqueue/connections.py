"""Connections that last: the worker's, which come back by themselves, and the application's pools."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from tenacity import (
    AsyncRetrying,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from pgqueue import errors
from pgqueue.config import redact
from pgqueue.database import KEEPALIVE, PINNED, connect, connect_async, run_async
from pgqueue.sql import Statement

RECONNECT = wait_exponential(multiplier=0.05, max=2.0) + wait_random(0, 0.1)
# Trying again may help: the connection broke, the server restarts, or (operational errors too) a deadlock picked us.
TROUBLE = (psycopg.OperationalError, psycopg.InterfaceError)

CONFLICTS = (  # with another transaction: the server is well
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)

T = TypeVar("T")
log = logging.getLogger("pgqueue")


class Outage:
    """One line when the database goes away and one when it is back, however many connections notice, and however late."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.since: float | None = None
        self._ended = 0.0
        self._lock = threading.Lock()

    def lost(self, error: BaseException, opened: float) -> None:
        """A connection broke, or could not be made, that was begun at ``opened``: if before the end of the last outage, in it."""
        with self._lock:
            if self.since is None and opened >= self._ended:
                self.since = time.monotonic()
                why = str(error).strip().splitlines() or [type(error).__name__]
                log.warning(
                    "the database went away (%s): %s; trying again until it is back",
                    redact(self.dsn),
                    why[-1],
                )

    def over(self) -> None:
        """A new connection was made."""
        with self._lock:
            if self.since is not None:
                self._ended = time.monotonic()
                log.warning("the database is back after %.1f s", self._ended - self.since)
                self.since = None


def until_back() -> AsyncRetrying:
    """Tries again while it fails with TROUBLE."""
    return AsyncRetrying(retry=retry_if_exception_type(TROUBLE), wait=RECONNECT)


class Link:
    """A connection of the worker that comes back by itself."""

    def __init__(self, dsn: str, name: str, outage: Outage, *, session: str = PINNED) -> None:
        self._dsn, self._name, self._outage, self._session = dsn, name, outage, session
        self._connection: AsyncConnection[Any] | None = None
        self._opened = 0.0
        self._connecting = asyncio.Lock()

    async def connection(self) -> AsyncConnection[Any]:
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                self._opened = time.monotonic()
                self._connection = await connect_async(self._dsn, name=self._name, session=self._session)
                self._outage.over()
            return self._connection

    async def once(self, statement: Statement[T]) -> T:
        """One try. A connection that broke, or on which a statement was cut off, is dropped: the next try opens a new one."""
        try:
            return await run_async(await self.connection(), statement)
        except TROUBLE as error:
            await self.lost(error)
            raise
        except BaseException as error:
            if not isinstance(error, psycopg.Error):
                await self.close()
            raise

    async def run(self, statement: Statement[T]) -> T:
        """Tries until the server answers. Only for what may run twice: a claim whose answer is lost is rescued."""
        async for attempt in until_back():
            with attempt:
                return await self.once(statement)
        raise AssertionError

    async def wait_until_back(self) -> None:
        """Returns once the server can be reached again."""
        async for attempt in until_back():
            with attempt:
                try:
                    await self.connection()
                except TROUBLE as error:
                    await self.lost(error)
                    raise

    async def lost(self, error: BaseException) -> None:
        """Notes that the connection broke; only a break of the whole server is worth a line."""
        if not isinstance(error, CONFLICTS):
            self._outage.lost(error, self._opened)
        await self.close()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            except psycopg.Error:
                log.debug("closing a broken connection failed", exc_info=True)


def retry_connecting(seconds: float) -> Retrying:
    """For ``--wait-for-db``: tries for that long while the server cannot be reached."""
    return Retrying(
        retry=retry_if_exception_type((errors.DatabaseUnreachableError, errors.TooManyConnectionsError)),
        wait=RECONNECT,
        stop=stop_after_delay(seconds),
        reraise=True,
    )


def prepare_threshold(dsn: str) -> int | None:
    """After how many uses a pool here prepares a statement; None behind a pooler. Raises a clear error now instead of a time-out of the pool."""
    with connect(dsn) as probe:
        return probe.prepare_threshold


Pool = WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConnectionPool[AsyncConnection[Any]]]


class Pools:
    """The application's own connections: a pool for sync callers, and one for each event loop. Safe over fork."""

    def __init__(self, dsn: Callable[[], str], size: int = 10) -> None:
        self._dsn, self._size = dsn, size
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._sync: ConnectionPool[Connection[Any]] | None = None
        self._async: Pool = WeakKeyDictionary()

    def _forked(self) -> None:
        # An inherited socket belongs to the parent: forget it without closing it.
        if self._pid != os.getpid():
            self._pid, self._sync, self._async = os.getpid(), None, WeakKeyDictionary()

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """A connection in a transaction that commits at the end of the block."""
        with self._lock:
            self._forked()
            if self._sync is None:
                dsn = self._dsn()
                threshold = prepare_threshold(dsn)
                self._sync = ConnectionPool(
                    dsn,
                    check=ConnectionPool.check_connection,  # one that an outage broke costs no job its attempt
                    min_size=1,
                    max_size=self._size,
                    kwargs={"application_name": "pgqueue app", "prepare_threshold": threshold, **KEEPALIVE},
                    open=True,
                )
            pool = self._sync
        with pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def connection_async(self) -> AsyncIterator[AsyncConnection[Any]]:
        """The same for the running event loop."""
        self._forked()
        loop = asyncio.get_running_loop()
        pool = self._async.get(loop)
        if pool is None:
            dsn = self._dsn()
            threshold = await asyncio.to_thread(prepare_threshold, dsn)
            made: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
                dsn,
                check=AsyncConnectionPool.check_connection,
                min_size=1,
                max_size=self._size,
                kwargs={"application_name": "pgqueue app", "prepare_threshold": threshold, **KEEPALIVE},
                open=False,
            )
            # Waits: a pool that is asked sooner grows, and the end of a short asyncio.run() waits for ever for a worker of
            # the pool that was cancelled while it connected.
            await made.open(wait=True)
            pool = self._async.setdefault(loop, made)
            if pool is not made:  # somebody was quicker meanwhile
                await made.close()
        async with pool.connection() as connection:
            yield connection

    def close(self) -> None:
        with self._lock:
            pool, self._sync = self._sync, None
        if pool is not None:
            pool.close()

    async def aclose(self) -> None:
        pool = self._async.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()
        self.close()

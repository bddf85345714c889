"""The worker's connections, which come back by themselves."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from tenacity import (
    AsyncRetrying,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from pgqueue import errors
from pgqueue.clock import monotonic
from pgqueue.config import redact
from pgqueue.database import PINNED, connect_async, run_async
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
                self.since = monotonic()
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
                self._ended = monotonic()
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
                self._opened = monotonic()
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

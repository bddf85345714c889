"""The worker's connections, which are opened again after they broke."""

from __future__ import annotations

import asyncio
import threading
from typing import TypeVar

import psycopg
from psycopg import AsyncConnection
from tenacity import (
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
)

from pgqueue.database.outage import (
    READ_ONLY,
    RECONNECT,
    ConnectionLost,
    Outage,
    is_lost,
    one_line,
    until_back,
)
from pgqueue.database.run import PINNED, connect_async, run_async
from pgqueue.database.silence import cut, within
from pgqueue.errors import PgQueueError
from pgqueue.runtime.clock import monotonic
from pgqueue.runtime.services import was_thrown_in
from pgqueue.sql import Statement
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import ConnectionBroke, ConnectionNotClosed

ANSWER_GRACE = 2.0  # the connection is cut if the server's message about a time-out is this many seconds late

T = TypeVar("T")


class Link:
    """A connection of the worker. If it broke, the next statement opens a new one.

    The server ends a statement that takes longer than ``limit`` seconds. If its message does not arrive either, the connection is cut.
    """

    def __init__(
        self, dsn: str, name: str, outage: Outage, *, session: str = PINNED, limit: float = 60.0
    ) -> None:
        self._dsn, self._name, self._outage, self.limit = dsn, name, outage, limit
        self._session = f"{session}; set statement_timeout = {limit * 1000:.0f}"
        self._connection: AsyncConnection | None = None
        self._broke = False
        self._connecting = asyncio.Lock()
        outage.links.add(self)

    async def connection(self) -> AsyncConnection:
        """Returns the connection, which it opens if there is none. Raises ConnectionLost if the server cannot be reached."""
        try:
            async with self._connecting:
                if self._connection is None or self._connection.closed:
                    self._connection = await self._connect()
                return self._connection
        except BaseException as error:
            if was_thrown_in(error):
                raise ConnectionLost(one_line(error)) from error
            raise

    async def _connect(self) -> AsyncConnection:
        begun = monotonic()
        try:
            connection = await connect_async(self._dsn, name=self._name, session=self._session)
        except Exception as error:
            if not is_lost(error):
                raise
            self._outage.unreachable(error, begun)
            raise ConnectionLost(one_line(error)) from error
        self._outage.connected(again=self._broke)
        self._broke = False
        return connection

    async def once(self, statement: Statement[T]) -> T:
        """Sends the statement once. If the connection breaks or is cut meanwhile, drops it, so that the next statement opens a new one."""
        connection = await self.connection()
        patience, begun = self.limit + ANSWER_GRACE, monotonic()
        try:
            with within(connection, patience):
                answer = await run_async(connection, statement)
        except BaseException as error:
            if is_lost(error) or was_thrown_in(error) or (isinstance(error, Exception) and connection.closed):
                # A little less than ``patience``, because the timer of the cut can be a little ahead of this clock.
                silent = monotonic() - begun > 0.99 * patience
                if silent:
                    self._outage.silent(self)
                why = TimeoutError(f"no answer for {patience:g} s") if silent else error
                await self.lost(why)
                raise ConnectionLost(one_line(why)) from error
            if isinstance(error, READ_ONLY) or not isinstance(error, psycopg.Error | PgQueueError):
                await self.close()
            raise
        self._outage.answered(begun)
        return answer

    async def run(self, statement: Statement[T]) -> T:
        """Tries until the server answers. A statement whose answer is lost is sent again, so use this only if a second run does no harm."""
        async for attempt in until_back():
            with attempt:
                return await self.once(statement)
        raise AssertionError

    async def wait_until_back(self) -> None:
        """Returns as soon as the server can be reached again."""
        async for attempt in until_back():
            with attempt:
                await self.connection()

    async def lost(self, error: BaseException) -> None:
        """Notes that the connection broke, and closes it. Does nothing if there is no connection."""
        if self._connection is None:
            return
        emit(ConnectionBroke(self._name, one_line(error), isinstance(error, TimeoutError)))
        self._broke = True
        await self.close()

    def cut(self) -> None:
        """Ends the statement that waits on this connection. The next statement opens a new connection."""
        if self._connection is not None:
            cut(self._connection)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            except psycopg.Error as error:
                emit(ConnectionNotClosed(error))


def retry_connecting(seconds: float, ended: threading.Event) -> Retrying:
    """Returns an iterator for ``--wait-for-db``. It tries a block again while the server cannot be reached, for ``seconds`` or until ``ended``."""
    return Retrying(
        retry=retry_if_exception(is_lost),
        wait=RECONNECT,
        stop=stop_after_delay(seconds) | stop_when_event_set(ended),
        sleep=sleep_using_event(ended),
        reraise=True,
    )

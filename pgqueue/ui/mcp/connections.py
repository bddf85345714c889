"""The connections of the tools: one for each call, so that an agent that is idle keeps none, and a call after an outage needs no repair."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from psycopg import AsyncConnection

from pgqueue.database.reach import connect_soon
from pgqueue.database.silence import within
from pgqueue.ui.acting.background import Work, act_on
from pgqueue.ui.acting.performing import Noted
from pgqueue.ui.reading.reader import Reader, reading_on

T = TypeVar("T")

PATIENCE = 10.0  # seconds for which a tool that reads waits for its answer
ANSWER = 60.0  # seconds in which the database must answer all statements of an action


class Connections:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def _connect(self) -> AsyncConnection:
        connection = await connect_soon(self._dsn, name="pgqueue mcp")
        connection.prepare_threshold = None  # it executes each statement only once
        return connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        """Opens a read-only transaction. Raises TimeoutError if it takes longer than PATIENCE."""
        async with (
            asyncio.timeout(PATIENCE),
            await self._connect() as connection,
            reading_on(connection) as reader,
        ):
            yield reader

    async def act(self, work: Work[T], steps: Noted) -> T:
        """Does the work of an action on an autocommit connection."""

        async def bounded(connection: AsyncConnection) -> T:
            with within(connection, ANSWER):
                return await work(connection)

        return await act_on(self._connect, bounded, steps)

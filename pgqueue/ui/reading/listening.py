"""One connection that listens, for all callers of a server that wait for news. It is open only while a caller waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from psycopg import AsyncConnection

from pgqueue.database.outage import one_line
from pgqueue.database.run import CHANNEL, ORDINARY, connect_async, listen
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import PollingBegun, TurnFailed

ANSWER = 10.0  # seconds in which a new connection must be ready, and a look at the database must end
AGAIN_AFTER = 2.0  # seconds between two tries to reach the server
LINGER = 10.0  # seconds without a caller after which the connection is closed


class Listening:
    """Calls ``turn`` with the connection again and again, as long as ``is_used`` says that a caller waits. Replaces lost connections.

    ``what`` names the callers in the log, and is a part of the connection's name. Behind a pooler there are no notifications: the log says so
    once.
    """

    def __init__(
        self,
        what: str,
        dsn: Callable[[], str],
        is_used: Callable[[], bool],
        turn: Callable[[AsyncConnection], Awaitable[None]],
    ) -> None:
        self._what, self._dsn, self._is_used, self._turn = what, dsn, is_used, turn
        self._task: asyncio.Task[None] | None = None
        self._came = asyncio.Event()
        self._is_deaf = False  # whether it was said that there are no notifications

    def stir(self) -> None:
        """Says that a caller has come. Begins to listen, if it does not yet."""
        self._came.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"pgqueue {self._what}")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while await self._is_wanted():
            try:
                async with asyncio.timeout(ANSWER):
                    connection = await connect_async(
                        self._dsn(), name=f"pgqueue {self._what}", session=ORDINARY
                    )
                async with connection:
                    if not await listen(connection, CHANNEL) and not self._is_deaf:
                        self._is_deaf = True
                        emit(PollingBegun(self._what))
                    while await self._is_wanted():
                        await self._turn(connection)
            except Exception as error:  # noqa: BLE001 - it is logged
                emit(TurnFailed(self._what, "answer", one_line(error), AGAIN_AFTER, None))
                await asyncio.sleep(AGAIN_AFTER)

    async def _is_wanted(self) -> bool:
        """Returns whether a caller waits, or comes within LINGER seconds."""
        self._came.clear()
        if not self._is_used():
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    await self._came.wait()
        return self._is_used()

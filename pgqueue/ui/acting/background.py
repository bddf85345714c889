"""Does actions on connections of their own. If an action loses its connection, another connection writes into its row of the audit why it stopped.

A caller that waits for the action uses ``performed`` or ``act_on``. A server begins actions in its ``Background``, which limits their number.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection

from pgqueue.database.outage import one_line
from pgqueue.errors import DatabaseError, PgQueueError, ServerBusyError
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import TurnFailed
from pgqueue.ui.acting.performing import Noted, Steps, end_row, end_row_async, perform

C = TypeVar("C")
T = TypeVar("T")
Connect = Callable[[], Awaitable[AsyncConnection]]
Work = Callable[[AsyncConnection], Awaitable[T]]

MOST_AT_ONCE = 4  # actions that a server does at the same time
PAUSE = 1.0  # seconds between two tries to write why an action has stopped
PATIENCE = 5.0  # seconds for which a caller that waits for its action waits for this note
# A server waits out an outage for at most this many seconds. After two minutes, the audit recognizes by itself what has stopped.
NOTED_WITHIN = 100.0


def performed(
    connection: Connection, connect: Callable[[], Connection], steps: Steps[C]
) -> Iterator[list[C]]:
    """``perform``. If the connection is lost, writes into the audit why the steps have stopped, on a new one of ``connect``."""
    try:
        yield from perform(connection, steps)
    except Exception as error:
        until = monotonic() + PATIENCE
        while steps.open_row is not None:
            with suppress(PgQueueError, psycopg.Error), connect() as another:
                end_row(another, steps, error)
            if steps.open_row is None or monotonic() > until:
                break
            time.sleep(PAUSE)
        raise


async def act_on(connect: Connect, work: Work[T], steps: Noted | None) -> T:
    """Does the work on a connection of its own. If it is lost, writes into the audit why the steps have stopped, on a new one."""
    try:
        return await _on_its_own(connect, work)
    except Exception as error:
        if steps is not None:
            await _end_row_later(connect, steps, error, PATIENCE)
        raise


class Background:
    """The actions that a server does now. Keeps their tasks, because asyncio itself would forget them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._notes: set[asyncio.Task[None]] = set()  # about actions that lost their connection

    def begin(
        self, what: str, connect: Connect, work: Work[T], steps: Noted | None = None
    ) -> asyncio.Task[T]:
        """Begins the work on a connection of its own. Raises ServerBusyError if the server does MOST_AT_ONCE actions.

        ``what``: names the action in the server's log. ``steps``: what the audit notes, if it has a row that can stay open.
        """
        if len(self._tasks) >= MOST_AT_ONCE:
            raise ServerBusyError("The server does other actions now.", do="try again when one has ended")

        def end(task: asyncio.Task[T]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if not isinstance(error, Exception):
                return
            if steps is not None and steps.open_row is not None:
                _keep(self._notes, _end_row_later(connect, steps, error, NOTED_WITHIN))
            _tell(what, error)

        task = asyncio.create_task(_on_its_own(connect, work))
        self._tasks.add(task)
        task.add_done_callback(end)
        return task

    async def aclose(self) -> None:
        """Ends the actions. What they have done stays, and the audit says that they were interrupted."""
        ending = [*self._tasks, *self._notes]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _tell(what: str, error: Exception) -> None:
    """Reports an error that the operator of the server must know of. The person who acts, or the audit, is told every error."""
    if isinstance(error, PgQueueError | psycopg.Error):
        if isinstance(error, DatabaseError | psycopg.Error):
            emit(TurnFailed(what, "answer", one_line(error), 0.0, None))
    else:
        emit(TurnFailed(what, "bug", one_line(error), 0.0, error))


async def _on_its_own(connect: Connect, work: Work[T]) -> T:
    async with await connect() as connection:
        return await work(connection)


async def _end_row_later(connect: Connect, steps: Noted, error: Exception, patience: float) -> None:
    """Writes into the audit why the steps have stopped, if their row is open. Tries it for ``patience`` seconds."""
    until = monotonic() + patience
    while steps.open_row is not None:
        with suppress(PgQueueError, psycopg.Error, OSError):
            async with await connect() as connection:
                await end_row_async(connection, steps, error)
        if steps.open_row is None or monotonic() > until:
            return
        await asyncio.sleep(PAUSE)

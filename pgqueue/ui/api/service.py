"""What the routes need besides the request: connections with limits, so that no caller and no number of callers can block the server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from psycopg import AsyncConnection

from pgqueue.app.app import App
from pgqueue.app.storing import JobStore
from pgqueue.database.driver_errors import explained
from pgqueue.database.run import command_async
from pgqueue.errors import ServerBusyError
from pgqueue.ui.access.counted import counted
from pgqueue.ui.acting.background import Background
from pgqueue.ui.api.feed import Feed
from pgqueue.ui.reading.failures import too_many
from pgqueue.ui.reading.reader import Reader, reading

SESSIONS = 8  # requests that use the database at the same time
IN_LINE = 2000  # further requests that wait for their turn
PATIENCE = 10.0  # seconds; a request waits for its turn at most this long
ANSWER = 8.0  # seconds; the database must answer a request within this time
MOST_WAITING = 5000  # requests that wait for the end of a job
# The same for one caller, so that it does not take the places of all others, and streams of events that it can have open.
WAITING_OF_ONE, STREAMS_OF_ONE = 2000, 100
WRITING = (
    "set local search_path = pg_catalog, pg_temp; set local timezone = 'UTC';"
    " set local statement_timeout = '6s'; set local lock_timeout = '2s'"
)


class Gate:
    """Lets ``at_once`` callers in, and ``in_line`` others wait for at most PATIENCE seconds. Raises ServerBusyError for all others."""

    def __init__(self, at_once: int, in_line: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most, self._in_line = in_line, 0

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        await self._wait()
        try:
            yield
        finally:
            self._free.release()

    async def _wait(self) -> None:
        if self._in_line >= self._most:
            raise ServerBusyError(
                "Too many requests wait for the database.", do="send fewer requests at a time, or try again"
            )
        self._in_line += 1
        try:
            async with asyncio.timeout(PATIENCE):
                await self._free.acquire()
        except TimeoutError:
            raise ServerBusyError(
                f"The request has waited {PATIENCE:g} s for the database.",
                do="send fewer requests at a time, or try again",
            ) from None
        finally:
            self._in_line -= 1


class Service:
    """The store of the jobs, with limits. ``is_own``: the app was made for the API alone, so its connections are closed with the API.

    ``checks_arguments``: the app knows the tasks, so only these can be enqueued, and arguments are checked against their signatures.
    """

    def __init__(self, app: App, *, is_own: bool, most_waiting: int = MOST_WAITING) -> None:
        self.app = app
        self.is_own = is_own
        self.checks_arguments = bool(app.tasks)
        self.background = Background()
        self.feed = Feed(app.store.dsn)
        self._gate = Gate(SESSIONS, IN_LINE)
        self._most_waiting = most_waiting
        # For each caller: how many of its requests wait, streams among them, and how many streams it has.
        self._waits, self._streams = Counter[str](), Counter[str]()

    @property
    def store(self) -> JobStore:
        return self.app.store

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        """Opens a transaction that only reads, and whose statements have a time limit."""
        async with self._entered(), reading(self.store.pools) as reader:
            yield reader

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction that commits at the end of the block, and whose statements have a time limit."""
        async with self._entered(), self.store.pools.soon() as connection:
            await command_async(connection, WRITING)
            yield connection

    @asynccontextmanager
    async def _entered(self) -> AsyncIterator[None]:
        async with self._gate.entered():
            try:
                async with asyncio.timeout(ANSWER):
                    with explained():
                        yield
            except TimeoutError:
                raise ServerBusyError(
                    f"The database has not answered within {ANSWER:g} s.", do="try again"
                ) from None

    @property
    def waits(self) -> int:
        """Returns how many requests wait for the end of a job."""
        return self._waits.total()

    @contextmanager
    def waiting(self, caller: str) -> Iterator[None]:
        """Counts a request of this caller that waits for the end of a job. Raises an error if too many wait, of this caller or of all."""
        self._check_waits(caller)
        with counted(self._waits, caller):
            yield

    @contextmanager
    def streaming(self, caller: str) -> Iterator[None]:
        """``waiting`` for a stream of events. Raises what ``check_room`` raises."""
        self.check_room(caller)
        with self.waiting(caller), counted(self._streams, caller):
            yield

    def check_room(self, caller: str) -> None:
        """Raises ServerBusyError if the server has no room for a further stream, and InvalidRequestError if the caller has too many."""
        self._check_waits(caller)
        if self._streams[caller] >= STREAMS_OF_ONE:
            raise too_many(
                f"{caller} has {STREAMS_OF_ONE} streams of events open.", "close one, and try again"
            )

    def _check_waits(self, caller: str) -> None:
        if self.waits >= self._most_waiting:
            raise ServerBusyError("Too many requests wait for jobs.", do="ask without wait, or try again")
        if self._waits[caller] >= WAITING_OF_ONE:
            raise too_many(
                f"{WAITING_OF_ONE} requests of {caller} wait for jobs.", "ask without wait, or try again"
            )

    async def aclose(self) -> None:
        """Ends the actions, and closes the connections. What actions have done stays, and the audit says that they were interrupted."""
        await self.background.aclose()
        await self.feed.aclose()
        if self.is_own:
            await self.app.aclose()

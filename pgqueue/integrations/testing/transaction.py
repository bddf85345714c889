"""The transaction of a test, on the connection or session that the test has given.

pgqueue itself needs two kinds of callers on it: sync and async ones. If the driver is psycopg, both get a second connection object on the
same session of the server (a twin), so that they see the test's rows, and their own settings do not change the test's object. Other
drivers serve only callers of their own kind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus

from pgqueue.database.joining import (
    CallersConnection,
    is_async,
    is_async_sqlalchemy,
    is_asyncpg,
    is_sync_sqlalchemy,
    joined,
)
from pgqueue.database.run import run, run_async
from pgqueue.errors import WrongConnectionError
from pgqueue.integrations.testing.turn_lock import TurnLock
from pgqueue.sql import Statement

T = TypeVar("T")
Driver = Connection | AsyncConnection


class Twin(Connection):
    """A sync connection object on the session of another connection object, which alone closes it."""

    def __del__(self, *_: object) -> None:
        """Gives no warning, because the session belongs to the test."""


class AsyncTwin(AsyncConnection):
    """``Twin`` for async callers."""

    def __del__(self, *_: object) -> None:
        """Gives no warning, because the session belongs to the test."""


class JoinedTransaction:
    """``given``: psycopg's, SQLAlchemy's, asyncpg's or Django's connection, or a Session. Its owner begins and ends the transaction.

    Raises WrongConnectionError if ``given`` is none of these.
    """

    def __init__(self, given: object) -> None:
        self.given: Any = given
        self.is_async = is_async(joined(given))
        self._lock = TurnLock()
        self._locked: list[tuple[Driver, Any]] = []  # connections with their own locks, for ``release``

    def release(self) -> None:
        """Gives the connection back to the test."""
        for driver, lock in self._locked:
            driver.lock = lock
        self._locked = []

    # ---------------------------------------------------------------- the driver's connection

    def _driver(self) -> Driver | None:
        """Returns the psycopg connection inside. None: the driver is another one. A Session sends what it has not sent yet."""
        inside = joined(self.given)
        if is_sync_sqlalchemy(inside):
            if is_session(inside):
                self.given.flush()
            inside = sync_connection_of(inside).connection.driver_connection
        return self._checked(inside)

    async def _adriver(self) -> Driver | None:
        """``_driver``, also for async connections."""
        if not is_async_sqlalchemy(self.given):
            return self._driver()
        inside = self.given
        if hasattr(inside, "flush"):
            await inside.flush()
            inside = await inside.connection()
        raw = await inside.get_raw_connection()
        return self._checked(raw.driver_connection)

    def _checked(self, driver: object) -> Driver | None:
        if is_asyncpg(self.given) and not self.given.is_in_transaction():
            raise _commits_by_itself()
        if not isinstance(driver, Driver):
            return None
        if driver.autocommit and driver.info.transaction_status is TransactionStatus.IDLE:
            raise _commits_by_itself()
        own: object = driver.lock
        if own is not self._lock:
            self._locked.append((driver, own))
            driver.lock = self._lock  # type: ignore[assignment]
        return driver

    # ---------------------------------------------------------------- savepoints

    def _begin(self, connection: Connection) -> None:
        """Begins the test's transaction, as psycopg does before the first statement. Otherwise, a block would be the outermost one."""
        if connection.info.transaction_status is TransactionStatus.IDLE:
            with self._lock:
                connection.wait(connection._start_query())  # noqa: SLF001 - psycopg has no public method that only begins

    async def _abegin(self, connection: AsyncConnection) -> None:
        if connection.info.transaction_status is TransactionStatus.IDLE:
            async with self._lock:
                await connection.wait(connection._start_query())  # noqa: SLF001

    @contextmanager
    def block(self) -> Iterator[Any]:
        """Opens a savepoint for a sync caller, and yields the connection for its statements. An error rolls back to the savepoint."""
        driver = None if is_asyncpg(self.given) or is_async_sqlalchemy(self.given) else self._driver()
        if driver is None and self.is_async:
            driver = self._known_driver()
        if driver is not None:
            twin = Twin(driver.pgconn)
            twin.lock = self._lock  # type: ignore[assignment]
            self._begin(driver if isinstance(driver, Connection) else twin)
            with twin.transaction():
                yield twin
        else:
            with self.given.begin_nested():
                yield self.given

    def _known_driver(self) -> Driver:
        """Returns the psycopg connection of an async given one for a sync caller, which cannot await."""
        inside = getattr(self.given, "sync_connection", None)
        if inside is None and (session := getattr(self.given, "sync_session", None)) is not None:
            # a Session that has begun has its connection already
            inside = next(iter(getattr(session.get_transaction(), "_connections", {})), None)
        raw = None if inside is None else getattr(inside.connection, "driver_connection", None)
        driver = self._checked(raw)
        if driver is None:
            raise WrongConnectionError(
                "A sync call needs the test's transaction, but the test's connection is async.",
                why="its driver serves only async callers",
                do="use the async twin, such as aenqueue, or give pgqueue_connection a psycopg connection",
            )
        return driver

    @asynccontextmanager
    async def ablock(self) -> AsyncIterator[Any]:
        """``block`` for an async caller."""
        driver = await self._adriver()
        if driver is not None:
            twin = AsyncTwin(driver.pgconn)
            twin.lock = self._lock  # type: ignore[assignment]
            await self._abegin(driver if isinstance(driver, AsyncConnection) else twin)
            async with twin.transaction():
                yield twin
        elif not self.is_async:
            raise WrongConnectionError(
                "An async call needs the test's transaction, but the test's connection is sync.",
                why="its driver serves only sync callers",
                do="use the sync twin, such as enqueue, or give pgqueue_connection a connection with the driver psycopg",
            )
        elif is_asyncpg(self.given):
            async with self.given.transaction():
                yield self.given
        else:
            async with self.given.begin_nested():
                yield self.given

    # ---------------------------------------------------------------- statements

    def run(self, statement: Statement[T]) -> T:
        """Runs a statement in a savepoint. Raises WrongConnectionError if the test's connection is async and its driver is not psycopg."""
        with self.block() as connection:
            return run(connection, statement)

    async def arun(self, statement: Statement[T]) -> T:
        """``run`` for async callers. A sync connection is used as it is, because a test has nothing else to do meanwhile."""
        if not self.is_async:
            return self.run(statement)
        async with self.ablock() as connection:
            return await run_async(connection, statement)


def _commits_by_itself() -> WrongConnectionError:
    return WrongConnectionError(
        "The test's connection is not in a transaction, and commits each statement.",
        why="a rollback at the end of the test would leave the jobs in the database",
        do="let pgqueue_connection open a transaction, and roll it back after its yield: docs/testing.md shows it for each driver",
    )


def sync_connection_of(given: Any) -> Any:
    """Returns the Connection of a sync Session of SQLAlchemy, or a Connection itself."""
    return given.connection() if is_session(given) else given


def is_session(given: CallersConnection) -> bool:
    """Returns whether this is a Session of SQLAlchemy, sync or async."""
    return hasattr(given, "flush") and (is_sync_sqlalchemy(given) or is_async_sqlalchemy(given))

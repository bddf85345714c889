"""Opens a transaction whose COMMIT pgqueue itself sends: from the app's pool, or from a maker of the user (``using``, see ``makers``)."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgqueue.database.driver_errors import explained
from pgqueue.database.for_django import begun_on_django
from pgqueue.database.makers import (
    is_async_engine,
    is_async_sessionmaker,
    is_asyncpg_pool,
    is_django,
    is_engine,
    is_sessionmaker,
    refused,
)
from pgqueue.database.pools import Pools
from pgqueue.errors import WrongConnectionError
from pgqueue.runtime.interruption import uninterrupted

if TYPE_CHECKING:
    from sqlalchemy import Connection as SqlAlchemyConnection
    from sqlalchemy.ext.asyncio import AsyncConnection as SqlAlchemyAsyncConnection
    from sqlalchemy.orm import Session

T = TypeVar("T")

ANSWER = 60.0  # seconds; an async COMMIT that gets no answer for so long counts as unconfirmed


class Opened(NamedTuple):
    """An open transaction. ``given``: what the handler gets. ``flush`` sends what the handler's objects have not sent yet.

    ``takes_commit``: ``given`` is psycopg's, and the COMMIT can be sent in one message with the last statement, instead of by ``commit``.
    """

    given: object
    flush: Callable[[], object]
    commit: Callable[[], object]
    takes_commit: bool = False


class AsyncOpened(NamedTuple):
    """``Opened`` for async handlers."""

    given: object
    flush: Callable[[], Awaitable[object]]
    commit: Callable[[], Awaitable[object]]
    takes_commit: bool = False


class JoinedPools(Pools):
    """Takes the place of an app's pools while all that the app does must be part of one open transaction, such as that of a test.

    Each block of ``connection`` and ``aconnection`` is a savepoint of that transaction, and so is each transaction of a handler.
    """

    @abstractmethod
    def open(self, using: object) -> AbstractContextManager[Opened]:
        """Opens a transaction for ``job.transaction(using=…)``. Its ``commit`` only ends the savepoint."""

    @abstractmethod
    def aopen(self, using: object) -> AbstractAsyncContextManager[AsyncOpened]:
        """``open`` for async handlers."""


def _nothing() -> None: ...


async def _nothing_async() -> None: ...


@contextmanager
def opened(pools: Pools, using: object, complete: Callable[[Opened], None]) -> Iterator[object]:
    """Gives the block a transaction, and calls ``complete`` at the end of the block. ``complete`` sends the COMMIT.

    If the block or ``complete`` raises an error, the transaction is rolled back. An interruption of the handler waits while a connection
    is taken, committed or returned.
    """
    with uninterrupted() as gap, _open(pools, using) as transaction:
        with gap():
            yield transaction.given
            transaction.flush()
        with explained():
            complete(transaction)


@asynccontextmanager
async def aopened(
    pools: Pools, using: object, complete: Callable[[AsyncOpened], Awaitable[None]]
) -> AsyncIterator[object]:
    """``opened`` for async handlers."""
    async with _aopen(pools, using) as transaction:
        yield transaction.given
        await transaction.flush()
        with explained():
            async with asyncio.timeout(ANSWER):
                await complete(transaction)


@contextmanager
def _open(pools: Pools, using: object) -> Iterator[Opened]:
    if isinstance(pools, JoinedPools):
        with pools.open(using) as transaction:
            yield transaction
    elif using is None:
        with pools.connection() as connection, _begun(connection) as transaction:
            yield transaction
    elif isinstance(using, ConnectionPool):
        with (
            using.connection() as connection,
            _without_autocommit(connection),
            _begun(connection) as transaction,
        ):
            yield transaction
    elif is_sessionmaker(using):
        with using() as session:
            require_transaction(session.connection())
            yield Opened(session, session.flush, one_commit(session, session.commit))
    elif is_engine(using):
        with using.connect() as joined:
            joined.begin()
            require_transaction(joined)
            yield Opened(joined, _nothing, one_commit(joined, joined.commit))
    elif is_django(using):
        with begun_on_django(using) as (check, commit):
            yield Opened(using, check, commit)
    else:
        raise refused(using, "transaction", asynchronous=False)


@asynccontextmanager
async def _aopen(pools: Pools, using: object) -> AsyncIterator[AsyncOpened]:
    if isinstance(pools, JoinedPools):
        async with pools.aopen(using) as transaction:
            yield transaction
    elif using is None:
        async with pools.aconnection() as connection, _begun_async(connection) as transaction:
            yield transaction
    elif isinstance(using, AsyncConnectionPool):
        async with (
            using.connection() as connection,
            _without_autocommit_async(connection),
            _begun_async(connection) as transaction,
        ):
            yield transaction
    elif is_async_sessionmaker(using):
        async with using() as session:
            require_transaction(sync_of(await session.connection()))
            yield AsyncOpened(session, session.flush, one_commit(session.sync_session, session.commit))
    elif is_async_engine(using):
        async with using.connect() as joined:
            await joined.begin()
            sync = sync_of(joined)
            require_transaction(sync)
            yield AsyncOpened(joined, _nothing_async, one_commit(sync, joined.commit))
    elif is_asyncpg_pool(using):
        async with using.acquire() as lent:
            whole = lent.transaction()
            await whole.start()
            try:
                yield AsyncOpened(lent, _checking(lent.is_in_transaction), whole.commit)
            except BaseException:
                with suppress(Exception):  # it was committed, or the connection is broken
                    await whole.rollback()
                raise
    else:
        raise refused(using, "atransaction", asynchronous=True)


@contextmanager
def _begun(connection: Connection) -> Iterator[Opened]:
    """Begins the transaction before the block. In the block, the connection refuses to commit and to roll back.

    psycopg itself begins a transaction with its first statement. So ``connection.transaction()`` in the block would be the outermost
    transaction, and would commit the handler's rows before the job is completed. Now it is a savepoint.
    """
    with connection.lock:
        connection.wait(connection._start_query())  # noqa: SLF001 - psycopg has no public method that only begins

    def check() -> None:
        if connection.info.transaction_status is TransactionStatus.IDLE:
            raise _ended_by_handler()

    with unable_to_end(connection):
        yield Opened(connection, check, partial(type(connection).commit, connection), takes_commit=True)


@asynccontextmanager
async def _begun_async(connection: AsyncConnection) -> AsyncIterator[AsyncOpened]:
    """``_begun`` for an AsyncConnection."""
    async with connection.lock:
        await connection.wait(connection._start_query())  # noqa: SLF001
    check = _checking(lambda: connection.info.transaction_status is not TransactionStatus.IDLE)
    with unable_to_end(connection):
        yield AsyncOpened(connection, check, partial(type(connection).commit, connection), takes_commit=True)


def _checking(is_open: Callable[[], bool]) -> Callable[[], Awaitable[None]]:
    """Returns a function that raises WrongConnectionError if the handler has ended its transaction by a statement."""

    async def check() -> None:
        if not is_open():
            raise _ended_by_handler()

    return check


@contextmanager
def unable_to_end(connection: Connection | AsyncConnection) -> Iterator[None]:
    """In this block, ``commit()`` and ``rollback()`` of the connection raise WrongConnectionError."""

    def refuse() -> NoReturn:
        raise _ended_by_handler()

    own = vars(connection)
    before: dict[str, object] = {name: own[name] for name in ("commit", "rollback") if name in own}
    own.update(commit=refuse, rollback=refuse)
    try:
        yield
    finally:
        del own["commit"], own["rollback"]
        own.update(before)


def _ended_by_handler() -> WrongConnectionError:
    return WrongConnectionError(
        "The handler has ended the transaction that pgqueue gave it.",
        why="what it committed is no longer part of the job's completion or of the step",
        do="leave commit and rollback to the end of the block; conn.transaction() makes a savepoint",
    )


@contextmanager
def _without_autocommit(connection: Connection) -> Iterator[None]:
    """Makes the block a transaction on a connection of a pool whose connections commit each statement."""
    if not connection.autocommit:
        yield
        return
    connection.autocommit = False
    try:
        yield
    except BaseException:
        if not connection.closed:
            connection.rollback()
        raise
    finally:
        if not connection.closed:
            connection.autocommit = True


@asynccontextmanager
async def _without_autocommit_async(connection: AsyncConnection) -> AsyncIterator[None]:
    """``_without_autocommit`` for an AsyncConnection."""
    if not connection.autocommit:
        yield
        return
    await connection.set_autocommit(False)
    try:
        yield
    except BaseException:
        if not connection.closed:
            await connection.rollback()
        raise
    finally:
        if not connection.closed:
            await connection.set_autocommit(True)


def sync_of(connection: SqlAlchemyAsyncConnection) -> SqlAlchemyConnection:
    """Returns the sync connection inside SQLAlchemy's async connection, which must be open."""
    assert connection.sync_connection is not None
    return connection.sync_connection


def require_transaction(connection: SqlAlchemyConnection) -> None:
    """Raises WrongConnectionError if each statement on SQLAlchemy's connection commits by itself: then nothing could be rolled back."""
    driver = connection.connection.dbapi_connection
    if getattr(driver, "autocommit", False) is True or getattr(driver, "isolation_level", "") == "autocommit":
        raise WrongConnectionError(
            "The engine in transaction(using=…) has the isolation level AUTOCOMMIT.",
            why="each of its statements would commit before the job is completed",
            do='pass engine.execution_options(isolation_level="READ COMMITTED")',
        )


def one_commit(begun_on: SqlAlchemyConnection | Session, commit: Callable[[], T]) -> Callable[[], T]:
    """Returns ``commit``, but it raises WrongConnectionError if the handler has already ended the transaction that is open now."""
    begun = begun_on.get_transaction()

    def checked() -> T:
        if begun_on.get_transaction() is not begun:
            raise _ended_by_handler()
        return commit()

    return checked

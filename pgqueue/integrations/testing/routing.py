"""Routes all that an app does on its own connections into the transaction of a test: enqueues, handles, and the transactions of handlers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, NoReturn

from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgqueue.app.app import App
from pgqueue.app.waiters import Waiters
from pgqueue.database import statements
from pgqueue.database.joining import is_asyncpg, is_sync_sqlalchemy
from pgqueue.database.makers import (
    is_async_engine,
    is_async_sessionmaker,
    is_asyncpg_pool,
    is_engine,
    is_sessionmaker,
    refused,
)
from pgqueue.database.opened import AsyncOpened, JoinedPools, Opened, unable_to_end
from pgqueue.errors import WaitTimeoutError, WrongConnectionError
from pgqueue.integrations.testing.transaction import JoinedTransaction, is_session, sync_connection_of
from pgqueue.model.job import Job
from pgqueue.runtime.interruption import uninterrupted


@contextmanager
def routed(app: App, transaction: JoinedTransaction) -> Iterator[None]:
    """In this block, the app uses the test's transaction in place of its own connections. This holds for all threads and event loops."""
    store = app.store
    if isinstance(store.pools, JoinedPools):
        raise WrongConnectionError(
            "The app is part of a test's transaction already.",
            do="use one pgqueue fixture for an app, or end the other block first",
        )
    before = store.pools, store.waiters
    store.pools, store.waiters = TestPools(transaction), Reads(transaction)
    try:
        yield
    finally:
        store.pools, store.waiters = before


def _no_dsn() -> NoReturn:
    raise WrongConnectionError(
        "This call needs a connection of its own, but the app is part of a test's transaction.",
        do="test it end to end, with the fixture pgqueue_worker",
    )


class TestPools(JoinedPools):
    """The app's pools during a test: each block is a savepoint of the test's transaction, and commits nothing."""

    __test__ = False  # it is no test, although its name begins like one

    def __init__(self, transaction: JoinedTransaction) -> None:
        super().__init__(_no_dsn)
        self._transaction = transaction

    @contextmanager
    def connection(self, *, autocommit: bool = False, own: bool = False) -> Iterator[Connection]:  # noqa: ARG002 - each block is a savepoint
        with (
            uninterrupted() as gap,
            self._transaction.block() as connection,
            _unable_to_end(connection),
            gap(),
        ):
            yield connection

    @asynccontextmanager
    async def aconnection(
        self,
        *,
        autocommit: bool = False,  # noqa: ARG002
        own: bool = False,  # noqa: ARG002
    ) -> AsyncIterator[AsyncConnection]:
        async with self._transaction.ablock() as connection:
            with _unable_to_end(connection):
                yield connection

    def soon(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self.aconnection()

    # ---------------------------------------------------------------- the transactions of handlers

    @contextmanager
    def open(self, using: object) -> Iterator[Opened]:
        kept = self._transaction.run(statements.read_settings())
        with self._opened_by(using) as opened:
            yield opened
        self._transaction.run(statements.restore_settings(kept))

    @asynccontextmanager
    async def aopen(self, using: object) -> AsyncIterator[AsyncOpened]:
        kept = await self._transaction.arun(statements.read_settings())
        async with self._aopened_by(using) as opened:
            yield opened
        await self._transaction.arun(statements.restore_settings(kept))

    @contextmanager
    def _opened_by(self, using: object) -> Iterator[Opened]:
        if using is None or isinstance(using, ConnectionPool):
            with self.connection() as connection:
                yield Opened(connection, _nothing, _nothing)
        elif is_sessionmaker(using):
            with using(bind=self._sqlalchemy(), join_transaction_mode="create_savepoint") as session:
                yield Opened(session, session.flush, session.commit)
        elif is_engine(using):
            connection = self._sqlalchemy()
            with connection.begin_nested():
                yield Opened(connection, _nothing, _nothing)
        else:
            raise refused(using, "transaction", asynchronous=False)

    @asynccontextmanager
    async def _aopened_by(self, using: object) -> AsyncIterator[AsyncOpened]:
        if using is None or isinstance(using, AsyncConnectionPool):
            async with self.aconnection() as connection:
                yield AsyncOpened(connection, _nothing_async, _nothing_async)
        elif is_async_sessionmaker(using):
            bind = await self._async_sqlalchemy()
            async with using(bind=bind, join_transaction_mode="create_savepoint") as session:
                yield AsyncOpened(session, session.flush, session.commit)
        elif is_async_engine(using):
            connection = await self._async_sqlalchemy()
            async with connection.begin_nested():
                yield AsyncOpened(connection, _nothing_async, _nothing_async)
        elif is_asyncpg_pool(using):
            if not is_asyncpg(self._transaction.given):
                raise _of_another_kind("a connection of asyncpg")
            async with self._transaction.ablock() as connection:
                yield AsyncOpened(connection, _nothing_async, _nothing_async)
        else:
            raise refused(using, "atransaction", asynchronous=True)

    def _sqlalchemy(self) -> Any:
        given: Any = self._transaction.given
        if not is_sync_sqlalchemy(given):
            raise _of_another_kind("a Session or a Connection of SQLAlchemy")
        return sync_connection_of(given)

    async def _async_sqlalchemy(self) -> Any:
        given = self._transaction.given
        if is_session(given) and self._transaction.is_async:
            return await given.connection()
        if hasattr(given, "begin_nested") and self._transaction.is_async:
            return given
        raise _of_another_kind("an AsyncSession or an AsyncConnection of SQLAlchemy")

    # ---------------------------------------------------------------- nothing to open or close

    def make_room(self, handlers: int) -> None:
        """Does nothing: there is one connection."""

    async def leave_loop(self) -> None:
        """Does nothing: the test closes its connection."""


class Reads(Waiters):
    """The waits of handles during a test. Nothing runs while a test waits, so a wait only reads the job."""

    def __init__(self, transaction: JoinedTransaction) -> None:
        super().__init__(_no_dsn)
        self._transaction = transaction

    def looks(
        self,
        job_id: int,
        timeout: float | None,  # noqa: ARG002 - nothing is waited for
        *,
        watched: bool,  # noqa: ARG002
    ) -> Generator[Job | None, None, None]:
        yield _ended(job_id, self._transaction.run(statements.get_job(job_id, reveal=True)))

    async def alooks(
        self,
        job_id: int,
        timeout: float | None,  # noqa: ARG002 - nothing is waited for
        *,
        watched: bool,  # noqa: ARG002
    ) -> AsyncGenerator[Job | None, None]:
        yield _ended(job_id, await self._transaction.arun(statements.get_job(job_id, reveal=True)))


def _ended(job_id: int, job: Job | None) -> Job | None:
    if job is not None and not job.is_final:
        raise WaitTimeoutError(
            f"Job {job_id} is {job.state}, and nothing runs it while the test waits.",
            do="call pgqueue.drain() first, or test the wait end to end, with the fixture pgqueue_worker",
        )
    return job


@contextmanager
def _unable_to_end(connection: object) -> Iterator[None]:
    if isinstance(connection, Connection | AsyncConnection):
        with unable_to_end(connection):
            yield
    else:
        yield


def _of_another_kind(needed: str) -> WrongConnectionError:
    return WrongConnectionError(
        f"The handler opens its transaction with using=…, for which the test's connection must be {needed}.",
        do=f"give pgqueue_connection {needed}, in a transaction on the same database",
    )


def _nothing() -> None: ...


async def _nothing_async() -> None: ...

"""All connections of one replay: those of the app's pools, and those of the makers that the handler gives to ``job.transaction(using=…)``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgqueue.database.makers import (
    is_async_engine,
    is_async_sessionmaker,
    is_asyncpg_pool,
    is_django,
    is_engine,
    is_sessionmaker,
    refused,
)
from pgqueue.database.opened import AsyncOpened, Opened, unable_to_end
from pgqueue.database.pools import Pools
from pgqueue.errors import WrongConnectionError
from pgqueue.worker.replay.findings import Session
from pgqueue.worker.replay.maker_sessions import AsyncpgSession, AsyncSqlAlchemySession, SqlAlchemySession
from pgqueue.worker.replay.psycopg_sessions import AsyncSession, Setting, SyncSession

Closing = SyncSession | SqlAlchemySession
AsyncClosing = AsyncSession | AsyncSqlAlchemySession | AsyncpgSession


class ReplayPools(Pools):
    """The app's pools in a replay. A block of these pools is never committed."""

    def __init__(self, dsn: Callable[[], str], size: int | None, sessions: Sessions) -> None:
        super().__init__(dsn, size)
        self._sessions = sessions

    @contextmanager
    def connection(self, *, autocommit: bool = False, own: bool = False) -> Iterator[Connection]:  # noqa: ARG002 - each block is a part of one transaction
        with self._sessions.of_the_app(super().connection).block() as connection:
            yield connection

    @asynccontextmanager
    async def aconnection(
        self,
        *,
        autocommit: bool = False,  # noqa: ARG002
        own: bool = False,  # noqa: ARG002
    ) -> AsyncIterator[AsyncConnection]:
        async with self._sessions.of_the_loop(super().aconnection).block() as connection:
            yield connection


class Sessions:
    """The sessions by what has made them: the app, an event loop, or a maker."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._sync: dict[object, Closing] = {}
        self._async: dict[tuple[asyncio.AbstractEventLoop, object], AsyncClosing] = {}
        self._makers: list[object] = []  # so that no other maker gets the id of one that is gone

    def of_the_app(self, take: Callable[[], AbstractContextManager[Connection]]) -> SyncSession:
        session = self._sync.setdefault("app", SyncSession("app", self._setting, take))
        assert isinstance(session, SyncSession)
        return session

    def of_the_loop(self, take: Callable[[], AbstractAsyncContextManager[AsyncConnection]]) -> AsyncSession:
        place = (asyncio.get_running_loop(), "app")
        session = self._async.setdefault(place, AsyncSession("app (async)", self._setting, take))
        assert isinstance(session, AsyncSession)
        return session

    @contextmanager
    def opened(self, pools: Pools, using: object) -> Iterator[Opened]:
        """A transaction for ``job.transaction(using=…)``. Raises WrongConnectionError if ``using`` is not one of its makers."""
        if using is None:
            with pools.connection() as connection, unable_to_end(connection):
                yield Opened(connection, _nothing, _nothing)
            return
        session = self._sync.get(id(using))
        if session is None:
            session = self._sync[id(using)] = self._session_of(using)
            self._makers.append(using)
        if isinstance(session, SyncSession):
            with session.block() as connection, unable_to_end(connection):
                yield Opened(connection, _nothing, _nothing)
        else:
            with session.opened() as opened:
                yield opened

    @asynccontextmanager
    async def aopened(self, pools: Pools, using: object) -> AsyncIterator[AsyncOpened]:
        """``opened`` for ``job.atransaction(using=…)``."""
        if using is None:
            async with pools.aconnection() as connection:
                with unable_to_end(connection):
                    yield AsyncOpened(connection, _nothing_async, _nothing_async)
            return
        place = (asyncio.get_running_loop(), id(using))
        session = self._async.get(place)
        if session is None:
            session = self._async[place] = self._async_session_of(using)
            self._makers.append(using)
        if isinstance(session, AsyncSession):
            async with session.block() as connection:
                with unable_to_end(connection):
                    yield AsyncOpened(connection, _nothing_async, _nothing_async)
        else:
            async with session.opened() as opened:
                yield opened

    def _session_of(self, using: object) -> Closing:
        if isinstance(using, ConnectionPool):
            return SyncSession("pool", self._setting, using.connection)
        if is_sessionmaker(using) or is_engine(using):
            return SqlAlchemySession(using, self._setting)
        if is_django(using):
            raise WrongConnectionError(
                "A replay cannot use Django's connection.",
                why="it could not take back what the handler writes with the ORM",
                do="run the job again: pgq jobs retry; or try the handler in a TestCase",
            )
        raise refused(using, "transaction", asynchronous=False)

    def _async_session_of(self, using: object) -> AsyncClosing:
        if isinstance(using, AsyncConnectionPool):
            return AsyncSession("pool (async)", self._setting, using.connection)
        if is_async_sessionmaker(using) or is_async_engine(using):
            return AsyncSqlAlchemySession(using, self._setting)
        if is_asyncpg_pool(using):
            return AsyncpgSession(using, self._setting)
        raise refused(using, "atransaction", asynchronous=True)

    # ---------------------------------------------------------------- the end

    async def aclose(self) -> list[Session]:
        """Reads what the async sessions of the running loop have written, and rolls them back."""
        here = asyncio.get_running_loop()
        found = [await session.close() for (loop, _), session in self._async.items() if loop is here]
        return [session for session in found if session is not None]

    def close(self) -> list[Session]:
        """Does the same for the sync sessions."""
        found = [session.close() for session in self._sync.values()]
        return [session for session in found if session is not None]

    def interrupt(self) -> None:
        """Asks the server to end the statements that run on connections of psycopg. Any thread is allowed to call this."""
        for session in [*self._sync.values(), *self._async.values()]:
            connection = getattr(session, "connection", None)
            if isinstance(connection, Connection | AsyncConnection) and not connection.closed:
                with suppress(psycopg.Error):
                    connection.cancel()


def _nothing() -> None: ...


async def _nothing_async() -> None: ...

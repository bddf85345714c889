"""Connections of SQLAlchemy and asyncpg in a replay, from the makers that a handler gives to ``job.transaction(using=…)``.

As with psycopg, all blocks of one maker are savepoints of one transaction, which is rolled back at the end of the replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

from pgqueue.database import statements
from pgqueue.database.joining import AsyncpgConnection, CallersConnection
from pgqueue.database.makers import AsyncpgPool, is_async_sessionmaker, is_sessionmaker
from pgqueue.database.opened import AsyncOpened, Opened, one_commit, require_transaction, sync_of
from pgqueue.database.run import command, command_async, run, run_async
from pgqueue.database.statements.replay import READ_ONLY_SESSION, READ_WRITE
from pgqueue.text.described import describe
from pgqueue.worker.replay.findings import Session, ended_by_handler
from pgqueue.worker.replay.psycopg_sessions import Setting
from pgqueue.worker.replay.recording import record_asyncpg, record_sqlalchemy
from pgqueue.worker.replay.turns import AsyncTurns, Turns

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, NestedTransaction
    from sqlalchemy.ext.asyncio import (
        AsyncConnection,
        AsyncEngine,
        AsyncSession,
        AsyncTransaction,
        async_sessionmaker,
    )
    from sqlalchemy.orm import Session as OrmSession
    from sqlalchemy.orm import sessionmaker

PATIENCE = 5.0  # seconds; an async connection must answer within this time when the replay ends


class Guarded:
    """Makes SQLAlchemy's (sync) connection refuse to begin, to commit and to roll back, until ``release`` is called."""

    def __init__(self, connection: Connection) -> None:
        from sqlalchemy import event  # noqa: PLC0415 - so that only users of SQLAlchemy wait for its import

        self._is_on = True
        for what in ("begin", "commit", "rollback"):
            event.listen(connection, what, self._refuse)

    def _refuse(self, _connection: object) -> None:
        if self._is_on:
            raise ended_by_handler()

    def release(self) -> None:
        self._is_on = False


async def _nothing_async() -> None: ...


class SqlAlchemySession:
    """The connection of a sessionmaker or of an Engine."""

    def __init__(self, using: sessionmaker[OrmSession] | Engine, setting: Setting) -> None:
        self._using, self._setting = using, setting
        self.name = "Session" if is_sessionmaker(using) else "Engine"
        self._turns = Turns()
        self._connection: Connection | None = None
        self._guard: Guarded
        self._stop_recording: Callable[[], None] = lambda: None

    def _open(self) -> Connection:
        if self._connection is not None:
            return self._connection
        connection = self._engine().connect()
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._stop_recording = record_sqlalchemy(connection, self.name, self._setting.notes)
        self._guard = Guarded(connection)
        self._connection = connection
        return connection

    def _prepare(self, connection: Connection) -> None:
        if self._setting.lasting:
            command(connection, READ_ONLY_SESSION)
            connection.commit()
        connection.begin()
        require_transaction(connection)
        command(connection, READ_WRITE)
        run(connection, self._setting.refusal())

    def _engine(self) -> Engine:
        if not is_sessionmaker(self._using):
            return self._using
        with self._using() as probe:
            return probe.connection().engine

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        self._setting.notes.check()
        with self._turns.turn():
            connection = self._open()
            if is_sessionmaker(self._using):
                # In this mode, the Session does not touch the transaction that it joins.
                with self._using(bind=connection, join_transaction_mode="create_savepoint") as session:
                    require_transaction(session.connection())
                    commit = _checked(session, one_commit(session, session.commit))
                    yield Opened(session, session.flush, commit)
                return
            savepoint = connection.begin_nested()
            with savepoint:
                commit = _checked(connection, lambda: _require_active(savepoint))
                yield Opened(connection, lambda: None, commit)

    def close(self) -> Session | None:
        connection = self._connection
        if connection is None:
            return None
        found = Session(self.name, [])
        self._guard.release()
        self._stop_recording()
        try:
            found.writes = run(connection, self._setting.writes())
        except Exception as error:  # noqa: BLE001 - a dialect can raise any error
            found.note = f"What it wrote cannot be shown: {describe(error)}"
        with suppress(Exception):
            connection.rollback()
        with suppress(Exception):
            connection.invalidate()
            connection.close()
        return found


class AsyncSqlAlchemySession:
    """``SqlAlchemySession`` for an async_sessionmaker or an AsyncEngine."""

    def __init__(self, using: async_sessionmaker[AsyncSession] | AsyncEngine, setting: Setting) -> None:
        self._using, self._setting = using, setting
        self.name = "AsyncSession" if is_async_sessionmaker(using) else "AsyncEngine"
        self._turns = AsyncTurns()
        self._connection: AsyncConnection | None = None
        self._guard: Guarded
        self._stop_recording: Callable[[], None] = lambda: None

    async def _open(self) -> AsyncConnection:
        if self._connection is not None:
            return self._connection
        connection = await (await self._engine()).connect()
        sync = sync_of(connection)
        try:
            await self._prepare(connection)
        except BaseException:
            await connection.close()
            raise
        self._stop_recording = record_sqlalchemy(sync, self.name, self._setting.notes)
        self._guard = Guarded(sync)
        self._connection = connection
        return connection

    async def _prepare(self, connection: AsyncConnection) -> None:
        if self._setting.lasting:
            await command_async(connection, READ_ONLY_SESSION)
            await connection.commit()
        await connection.begin()
        require_transaction(sync_of(connection))
        await command_async(connection, READ_WRITE)
        await run_async(connection, self._setting.refusal())

    async def _engine(self) -> AsyncEngine:
        if not is_async_sessionmaker(self._using):
            return self._using
        async with self._using() as probe:
            return (await probe.connection()).engine

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[AsyncOpened]:
        self._setting.notes.check()
        async with self._turns.turn():
            connection = await self._open()
            if is_async_sessionmaker(self._using):
                async with self._using(bind=connection, join_transaction_mode="create_savepoint") as session:
                    require_transaction(sync_of(await session.connection()))
                    commit = _achecked(session, one_commit(session.sync_session, session.commit))
                    yield AsyncOpened(session, session.flush, commit)
                return
            savepoint = await connection.begin_nested()

            async def check() -> None:
                _require_active(savepoint)

            async with savepoint:
                yield AsyncOpened(connection, _nothing_async, _achecked(connection, check))

    async def close(self) -> Session | None:
        connection = self._connection
        if connection is None:
            return None
        found = Session(self.name, [])
        self._guard.release()
        self._stop_recording()
        try:
            async with asyncio.timeout(PATIENCE):
                found.writes = await run_async(connection, self._setting.writes())
        except Exception as error:  # noqa: BLE001 - a dialect can raise any error
            found.note = f"What it wrote cannot be shown: {describe(error)}"
        with suppress(Exception):
            async with asyncio.timeout(PATIENCE):
                await connection.rollback()
                await connection.invalidate()
                await connection.close()
        return found


def _checked(given: CallersConnection, commit: Callable[[], object]) -> Callable[[], object]:
    """Returns a function that first checks the deferred constraints, as a COMMIT would."""

    def checked() -> object:
        run(given, statements.check_deferred())
        return commit()

    return checked


def _achecked(
    given: CallersConnection, commit: Callable[[], Awaitable[object]]
) -> Callable[[], Awaitable[object]]:
    """``_checked`` for an async connection or session."""

    async def checked() -> object:
        await run_async(given, statements.check_deferred())
        return await commit()

    return checked


def _require_active(savepoint: NestedTransaction | AsyncTransaction) -> None:
    if not savepoint.is_active:
        raise ended_by_handler()


class AsyncpgSession:
    """``using``: a pool of asyncpg."""

    def __init__(self, using: AsyncpgPool, setting: Setting) -> None:
        self._using, self._setting = using, setting
        self.name = "asyncpg"
        self._turns = AsyncTurns()
        self._connection: AsyncpgConnection | None = None
        self._is_taken = False  # whether the connection belongs to the pool
        self._stop_recording: Callable[[], None] = lambda: None

    async def _open(self) -> AsyncpgConnection:
        if self._connection is not None:
            return self._connection
        connection = await self._connect()
        if self._setting.lasting:
            await command_async(connection, READ_ONLY_SESSION)
        self._transaction = connection.transaction()
        await self._transaction.start()
        await command_async(connection, READ_WRITE)
        await run_async(connection, self._setting.refusal())
        self._stop_recording = record_asyncpg(connection, self.name, self._setting.notes)
        self._connection = connection
        return connection

    async def _connect(self) -> AsyncpgConnection:
        """Opens a connection as the pool does, but beside the pool.

        The end of a pool waits until all its connections have come back. So a handler that makes its own pool could not end it.
        """
        connect: Callable[[], Awaitable[AsyncpgConnection]] | None = getattr(
            self._using, "_get_new_connection", None
        )
        if connect is not None:
            return await connect()
        self._is_taken = True
        return await self._using.acquire()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[AsyncOpened]:
        self._setting.notes.check()
        async with self._turns.turn():
            connection = await self._open()
            if not connection.is_in_transaction():
                raise ended_by_handler()
            async with connection.transaction():
                yield AsyncOpened(connection, _nothing_async, _achecked(connection, _nothing_async))

    async def close(self) -> Session | None:
        connection = self._connection
        if connection is None:
            return None
        found = Session(self.name, [])
        self._stop_recording()
        try:
            async with asyncio.timeout(PATIENCE):
                found.writes = await run_async(connection, self._setting.writes())
        except Exception as error:  # noqa: BLE001 - also asyncpg's errors, which are not imported here
            found.note = f"What it wrote cannot be shown: {describe(error)}"
        connection.terminate()
        if self._is_taken:
            with suppress(Exception):
                await self._using.release(connection)
        return found

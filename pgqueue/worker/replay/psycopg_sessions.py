"""Connections of psycopg in a replay, from the app's pools and from pools of the user.

All blocks of one pool share one connection and one transaction, which is rolled back at the end of the replay. Each block is a savepoint,
so a block that fails takes back only its own rows, and each block sees what the blocks before it have written.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from pgqueue.database import statements
from pgqueue.database.run import command, command_async, run, run_async
from pgqueue.database.statements.replay import KEEP, MARK, READ_ONLY_SESSION, READ_WRITE, UNDO, Write
from pgqueue.errors import PgQueueError
from pgqueue.sql import Statement
from pgqueue.text.described import describe
from pgqueue.worker.replay.findings import Notes, Session, ended_by_handler
from pgqueue.worker.replay.recording import record_psycopg
from pgqueue.worker.replay.turns import AsyncTurns, Turns

MOST_BYTES = 100 * 1024 * 1024  # the rows of a larger table are not read
MOST_ROWS = 20  # at most this many rows of a table are shown
LOST = "The handler has ended the transaction itself, so what it wrote before cannot be shown."


class Undone(Exception):  # noqa: N818 - it only makes a block of a pool roll back
    pass


class Setting:
    """What all connections of a replay need. ``lasting``: whether settings of a session stay in it; False if a pooler is in between."""

    def __init__(self, job_id: int, notes: Notes, *, lasting: bool) -> None:
        self.job_id, self.notes, self.lasting = job_id, notes, lasting

    def refusal(self) -> Statement[None]:
        return statements.refuse_commit(self.job_id, secrets.token_hex(8))

    def writes(self) -> Statement[list[Write]]:
        return statements.list_writes(MOST_BYTES, MOST_ROWS)


class SyncSession:
    """``take`` opens a block with a connection of the pool."""

    def __init__(
        self, name: str, setting: Setting, take: Callable[[], AbstractContextManager[Connection]]
    ) -> None:
        self._name, self._setting, self._take = name, setting, take
        self._stack = ExitStack()
        self._turns = Turns()
        self.connection: Connection | None = None

    def _open(self) -> Connection:
        if self.connection is not None:
            return self.connection
        connection = self._stack.enter_context(self._take())
        if connection.autocommit:
            connection.autocommit = False
        if self._setting.lasting:
            command(connection, READ_ONLY_SESSION)
            connection.commit()
        command(connection, READ_WRITE)
        run(connection, self._setting.refusal())
        record_psycopg(connection, self._name, self._setting.notes)
        self.connection = connection
        return connection

    @contextmanager
    def block(self) -> Iterator[Connection]:
        self._setting.notes.check()
        with self._turns.turn():
            connection = self._open()
            require_open(connection)
            connection.row_factory = tuple_row
            command(connection, MARK)
            with _replaced(connection, commit=lambda: _renew(connection), rollback=lambda: _undo(connection)):
                try:
                    yield connection
                except BaseException:
                    _end(connection, keep=False)
                    raise
                _end(connection, keep=True)

    def close(self) -> Session | None:
        """Reads what the session has written, and rolls it back. Returns None if the session was never used."""
        connection = self.connection
        if connection is None:
            return None
        found = Session(self._name, [])
        try:
            if connection.info.transaction_status is TransactionStatus.INTRANS:
                found.writes = run(connection, self._setting.writes())
            else:
                found.note = LOST
        except (psycopg.Error, PgQueueError) as error:
            found.note = f"What it wrote cannot be shown: {describe(error)}"
        connection.close()
        with suppress(Undone, psycopg.Error, PgQueueError):
            self._stack.__exit__(Undone, Undone(), None)
        return found


class AsyncSession:
    """``SyncSession`` for one event loop."""

    def __init__(
        self,
        name: str,
        setting: Setting,
        take: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
    ) -> None:
        self._name, self._setting, self._take = name, setting, take
        self._stack = AsyncExitStack()
        self._turns = AsyncTurns()
        self.connection: AsyncConnection | None = None

    async def _open(self) -> AsyncConnection:
        if self.connection is not None:
            return self.connection
        connection = await self._stack.enter_async_context(self._take())
        if connection.autocommit:
            await connection.set_autocommit(False)
        if self._setting.lasting:
            await command_async(connection, READ_ONLY_SESSION)
            await connection.commit()
        await command_async(connection, READ_WRITE)
        await run_async(connection, self._setting.refusal())
        record_psycopg(connection, self._name, self._setting.notes)
        self.connection = connection
        return connection

    @asynccontextmanager
    async def block(self) -> AsyncIterator[AsyncConnection]:
        self._setting.notes.check()
        async with self._turns.turn():
            connection = await self._open()
            require_open(connection)
            connection.row_factory = tuple_row
            await command_async(connection, MARK)
            with _replaced(
                connection, commit=lambda: _arenew(connection), rollback=lambda: _aundo(connection)
            ):
                try:
                    yield connection
                except BaseException:
                    await _aend(connection, keep=False)
                    raise
                await _aend(connection, keep=True)

    async def close(self) -> Session | None:
        connection = self.connection
        if connection is None:
            return None
        found = Session(self._name, [])
        try:
            if connection.info.transaction_status is TransactionStatus.INTRANS:
                found.writes = await run_async(connection, self._setting.writes())
            else:
                found.note = LOST
        except (psycopg.Error, PgQueueError) as error:
            found.note = f"What it wrote cannot be shown: {describe(error)}"
        await connection.close()
        with suppress(Undone, psycopg.Error, PgQueueError):
            await self._stack.__aexit__(Undone, Undone(), None)
        return found


@contextmanager
def _replaced(connection: Connection | AsyncConnection, **methods: Callable[[], object]) -> Iterator[None]:
    """In this block, ``commit()`` and ``rollback()`` of the connection act on the savepoint of the block."""
    own = vars(connection)
    before = {name: own[name] for name in methods if name in own}
    own.update(methods)
    try:
        yield
    finally:
        for name in methods:
            del own[name]
        own.update(before)


def require_open(connection: Connection | AsyncConnection) -> None:
    if connection.closed or connection.info.transaction_status is TransactionStatus.IDLE:
        raise ended_by_handler()


# ------------------------------------------------------------------ savepoints


def _end(connection: Connection, *, keep: bool) -> None:
    """Ends the savepoint of a block. A block that has left its transaction in an error is rolled back, as a COMMIT would do.

    Raises the error of a deferred constraint that does not hold.
    """
    status = connection.info.transaction_status
    if status is TransactionStatus.INTRANS and keep:
        try:
            run(connection, statements.check_deferred())
        except psycopg.Error:
            _end(connection, keep=False)
            raise
        command(connection, KEEP)
    elif status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        command(connection, UNDO)
        command(connection, KEEP)


def _renew(connection: Connection) -> None:
    _end(connection, keep=True)
    command(connection, MARK)


def _undo(connection: Connection) -> None:
    command(connection, UNDO)


async def _aend(connection: AsyncConnection, *, keep: bool) -> None:
    status = connection.info.transaction_status
    if status is TransactionStatus.INTRANS and keep:
        try:
            await run_async(connection, statements.check_deferred())
        except psycopg.Error:
            await _aend(connection, keep=False)
            raise
        await command_async(connection, KEEP)
    elif status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        await command_async(connection, UNDO)
        await command_async(connection, KEEP)


async def _arenew(connection: AsyncConnection) -> None:
    await _aend(connection, keep=True)
    await command_async(connection, MARK)


async def _aundo(connection: AsyncConnection) -> None:
    await command_async(connection, UNDO)

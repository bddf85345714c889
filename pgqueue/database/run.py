"""The only module that executes SQL: on pgqueue's own connections, and on each kind of connection that a caller can pass (``joining``).

``run`` and ``run_async`` run a ``Statement`` on a psycopg connection. On SQLAlchemy's Connection, Session, AsyncConnection and
AsyncSession they run it through SQLAlchemy. If they used the driver's connection below SQLAlchemy, SQLAlchemy would not begin its
transaction. Then it would not commit, and the statement would be lost.

No setting that a caller has made for its own statements changes pgqueue's statements. The cursors and adapters are pgqueue's own. Results
come in their binary form, which DateStyle, IntervalStyle, bytea_output and extra_float_digits do not change.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable
from typing import LiteralString, TypedDict, TypeVar

import psycopg
from psycopg import AsyncClientCursor, AsyncConnection, AsyncCursor, ClientCursor, Connection, Cursor
from psycopg.adapt import AdaptersMap
from psycopg.postgres import register_default_adapters, register_default_types
from psycopg.rows import TupleRow, tuple_row
from psycopg.types import TypesRegistry
from psycopg.types.array import register_all_arrays
from psycopg.types.string import TextLoader

from pgqueue import errors
from pgqueue.database.driver_errors import explained
from pgqueue.database.for_sqlalchemy import async_sqlalchemy, sync_sqlalchemy, text_and_values, text_for
from pgqueue.database.joining import CallersConnection, is_asyncpg, is_two_phase, joined
from pgqueue.database.numbered import copied_into, numbered
from pgqueue.database.silence import within
from pgqueue.sql import Statement

T = TypeVar("T")


class Parameters(TypedDict):
    """Parameters of libpq. ``tcp_user_timeout`` is in milliseconds, the other times are in seconds."""

    client_encoding: str
    connect_timeout: int
    keepalives_idle: int
    keepalives_interval: int
    keepalives_count: int
    tcp_user_timeout: int


# Each connection of pgqueue is opened with these parameters.
KEEPALIVE: Parameters = {
    "client_encoding": "UTF8",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# A role or a database can have other values for these settings, which would change the meaning of pgqueue's statements. The search path
# comes first: with another path, the server could call a function or an operator of another schema, if its types fit better. Plans are not
# compiled: over 90 day tables, a week of job_timeline took 6.6 s with JIT and 3.5 s without.
SESSION = (
    "set search_path = pg_catalog, pg_temp; set jit = off; set default_transaction_isolation = 'read committed'; set timezone = 'UTC';"
    " set datestyle = 'ISO'; set intervalstyle = 'postgres'; set bytea_output = 'hex'; set extra_float_digits = 1;"
    " set standard_conforming_strings = on"
)
# Each statement that runs often has one good plan. These settings pin that plan, because the planner's statistics of a queue are wrong most
# of the time. All of these settings belong together: with only some of them, a plan was a hundred times slower than with none.
PINNED = (
    "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = off;"
    " set enable_hashjoin = off; set enable_mergejoin = off; set lock_timeout = '2s'; " + SESSION
)
# A crash of the server can undo a claim that is not on disk yet. Then the job is pending again, which does no harm, so a claim does not wait
# for the disk. But a claim that takes seats must wait: it sets synchronous_commit back to the former value (claim_limited.sql).
CLAIMING = (
    PINNED
    + "; select pg_catalog.set_config('pgqueue.durable', current_setting('synchronous_commit'), false);"
    " set synchronous_commit = off"
)
SETUP_TIMEOUT = 10.0  # a new connection must be ready within this many seconds
BACKEND = "select pg_catalog.pg_backend_pid()"
POOLER_TRIES = (
    5  # the number of tries to recognise a pooler in transaction mode; a single try could miss it by chance
)
ORDINARY = SESSION
# PostgreSQL refuses PREPARE TRANSACTION after a NOTIFY. So such a transaction wakes no workers: they find its jobs at their next poll.
SILENT = "select pg_catalog.set_config('pgqueue.notify', 'off', true)"


# ------------------------------------------------------------------ statements on any connection


class _Text(TextLoader):
    """Decodes text as UTF-8. If a client asked for SQL_ASCII, the server sends text as it is stored, and psycopg itself would return bytes."""

    format = psycopg.pq.Format.BINARY

    def load(self, data: bytes | bytearray | memoryview) -> str:
        return bytes(data).decode()


def _adapters(loader: type[TextLoader] | None = None) -> AdaptersMap:
    """Returns the default adapters of psycopg, without the adapters that a caller has registered on the connection or globally."""
    known = TypesRegistry()
    register_default_types(known)
    adapters = AdaptersMap(types=known)
    register_default_adapters(adapters)
    register_all_arrays(adapters)
    if loader is not None:
        for name in ("text", "varchar", "name"):
            adapters.register_loader(name, loader)
    return adapters


ADAPTERS, UNCONVERTED = _adapters(), _adapters(_Text)


def _adapters_for(connection: Connection | AsyncConnection) -> AdaptersMap:
    return UNCONVERTED if connection.pgconn.parameter_status(b"client_encoding") == b"SQL_ASCII" else ADAPTERS


class OwnCursor(Cursor[TupleRow]):
    """A cursor on the caller's connection that does not use the connection's row factory, cursor factory and adapters."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, row_factory=tuple_row)

    @property
    def adapters(self) -> AdaptersMap:
        return _adapters_for(self._conn)


class OwnAsyncCursor(AsyncCursor[TupleRow]):
    """``OwnCursor`` for an AsyncConnection."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, row_factory=tuple_row)

    @property
    def adapters(self) -> AdaptersMap:
        return _adapters_for(self._conn)


def run(connection: CallersConnection, statement: Statement[T]) -> T:
    """Runs a statement in the caller's transaction, on a psycopg Connection, or on a SQLAlchemy Connection or Session."""
    connection = joined(connection)
    if isinstance(connection, Connection):
        with explained():
            cursor = OwnCursor(connection)
            if is_two_phase(connection):
                cursor.execute(SILENT)
            cursor.execute(statement.text, statement.parameters, binary=True)
            return statement.decode(cursor.fetchall())
    theirs = sync_sqlalchemy(connection)
    with explained():
        if is_two_phase(theirs):
            theirs.execute(text_for(SILENT), {})
        return statement.decode(theirs.execute(*text_and_values(statement)).fetchall())


async def run_async(connection: CallersConnection, statement: Statement[T]) -> T:
    """``run`` on an AsyncConnection of psycopg or SQLAlchemy, an AsyncSession, or a connection of asyncpg."""
    connection = joined(connection)
    if isinstance(connection, AsyncConnection):
        with explained():
            cursor = OwnAsyncCursor(connection)
            if is_two_phase(connection):
                await cursor.execute(SILENT)
            await cursor.execute(statement.text, statement.parameters, binary=True)
            return statement.decode(await cursor.fetchall())
    if is_asyncpg(connection):
        text, values = numbered(statement.text, statement.parameters)
        with explained():
            return statement.decode([tuple(row) for row in await connection.fetch(text, *values)])
    theirs = async_sqlalchemy(connection)
    with explained():
        if is_two_phase(theirs):
            await theirs.execute(text_for(SILENT), {})
        result = await theirs.execute(*text_and_values(statement))
        return statement.decode(result.fetchall())


def command(connection: CallersConnection, text: LiteralString) -> None:
    """Sends a command that has no parameters and returns no rows, such as SAVEPOINT, on each connection that ``run`` takes."""
    connection = joined(connection)
    with explained():
        if isinstance(connection, Connection):
            OwnCursor(connection).execute(text)
        else:
            sync_sqlalchemy(connection).execute(text_for(text), {})


async def command_async(connection: CallersConnection, text: LiteralString) -> None:
    """``command`` on each connection that ``run_async`` takes."""
    connection = joined(connection)
    with explained():
        if isinstance(connection, AsyncConnection):
            await OwnAsyncCursor(connection).execute(text)
        elif is_asyncpg(connection):
            await connection.execute(text)
        else:
            await async_sqlalchemy(connection).execute(text_for(text), {})


def run_and_commit(connection: Connection, statement: Statement[T]) -> T:
    """Runs the last statement of a transaction on a psycopg connection, and sends it and the COMMIT in one message.

    If the COMMIT came in a second message, the statement's locks would be held for long if this process stopped or the network broke
    between the two. A message with two statements cannot have separate parameters, so ClientCursor writes them into the text.
    """
    with explained():
        cursor = ClientCursor(connection).execute(_with_commit(statement.text), statement.parameters)
        return statement.decode(cursor.fetchall())


async def run_and_commit_async(connection: AsyncConnection, statement: Statement[T]) -> T:
    """``run_and_commit`` on an AsyncConnection."""
    with explained():
        cursor = await AsyncClientCursor(connection).execute(
            _with_commit(statement.text), statement.parameters
        )
        return statement.decode(await cursor.fetchall())


def _with_commit(text: LiteralString) -> LiteralString:
    return text + "; commit"


def copy(
    connection: CallersConnection, statement: Statement[None], blocks: Iterable[bytes | bytearray]
) -> None:
    """Runs a COPY … FROM STDIN in the caller's transaction. Only for connections for which ``can_copy`` is true."""
    connection = joined(connection)
    assert isinstance(connection, Connection)
    with explained(), OwnCursor(connection).copy(statement.text) as sink:
        for block in blocks:
            sink.write(block)


async def copy_async(
    connection: CallersConnection, statement: Statement[None], blocks: Iterable[bytes | bytearray]
) -> None:
    """``copy`` on a psycopg AsyncConnection, or on a connection of asyncpg."""
    connection = joined(connection)
    if is_asyncpg(connection):
        with explained():
            await connection.copy_to_table(
                **copied_into(statement.text), source=_each(blocks), format="binary"
            )
        return
    assert isinstance(connection, AsyncConnection)
    with explained():
        async with OwnAsyncCursor(connection).copy(statement.text) as sink:
            for block in blocks:
                await sink.write(block)


async def _each(blocks: Iterable[bytes | bytearray]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield bytes(block)


# ------------------------------------------------------------------ connections of pgqueue itself


def connect(
    dsn: str, *, name: str = "pgqueue", patience: float = SETUP_TIMEOUT, lock: float = 0
) -> Connection:
    """Opens an autocommit connection. If that fails, raises a DatabaseError with the reason.

    ``patience``: seconds until the connection must be ready. ``lock``: seconds that a statement waits for a lock; 0: no limit.
    """
    with explained(dsn or " "):
        connection = psycopg.connect(
            dsn,
            autocommit=True,
            application_name=name,
            **KEEPALIVE | {"connect_timeout": math.ceil(patience)},
        )
        try:
            with within(connection, patience):
                if is_pooled(connection):
                    connection.prepare_threshold = None
                else:
                    connection.execute(f"{ORDINARY}; set lock_timeout = '{lock:g}s'".encode())
        except BaseException:
            connection.close()
            raise
    return connection


async def connect_async(dsn: str, *, name: str, session: str = PINNED) -> AsyncConnection:
    """Opens an autocommit connection of a worker. By default its plans are pinned, and each statement is prepared at its first use."""
    connection = await AsyncConnection.connect(dsn, autocommit=True, application_name=name, **KEEPALIVE)
    try:
        with within(connection, SETUP_TIMEOUT):
            await _set_up(connection, session)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _set_up(connection: AsyncConnection, session: str) -> None:
    if session == ORDINARY:
        [(pid,)] = await (await connection.execute(BACKEND)).fetchall()
        if pid != connection.info.backend_pid:
            connection.prepare_threshold = None
            return
    await connection.execute(session.encode())
    connection.prepare_threshold = 0


def is_pooled(connection: Connection) -> bool:
    """Returns whether a pooler answers in the server's place.

    If so, the caller must set or prepare nothing in the session: a pooler in transaction mode soon gives the session to another client.
    """
    return _backend(connection) != connection.info.backend_pid


def check_sessions(dsn: str) -> None:
    """Raises InvalidSettingError if ``dsn`` leads to a pooler in transaction mode. Sets nothing in the pooler's sessions.

    In that mode, two connections can get the same session of the server, or one connection can get two sessions, one after the other.
    """
    with (
        explained(dsn or " "),
        psycopg.connect(dsn, autocommit=True, prepare_threshold=None, **KEEPALIVE) as one,
    ):
        with within(one, SETUP_TIMEOUT):
            if not is_pooled(one):
                return
        with (
            psycopg.connect(dsn, prepare_threshold=None, **KEEPALIVE) as two,
            within(one, SETUP_TIMEOUT),
            within(two, SETUP_TIMEOUT),
        ):
            for _ in range(POOLER_TRIES):
                before = _backend(one)
                between = _backend(
                    two
                )  # while the transaction of ``two`` is open, ``one`` cannot get this session
                if before != between and _backend(one) == before:
                    two.rollback()
                    continue
                raise errors.InvalidSettingError(
                    "The worker's DSN leads to a pooler in transaction mode.",
                    why="a worker prepares statements and changes settings in its sessions, and the pooler would give these sessions to other clients",
                    do="give the worker the address of the server, or of a pooler in session mode; enqueuers can use this DSN",
                )


def _backend(connection: Connection) -> int:
    [(pid,)] = connection.execute(BACKEND).fetchall()
    return int(pid)


CHANNEL: LiteralString = "pgqueue"  # of the wake-ups by enqueues, and of the messages to workers


async def listen(connection: AsyncConnection, channel: LiteralString) -> bool:
    """Lets an ORDINARY connection get notifications. Returns False behind a pooler: the session there would listen for other clients."""
    if connection.prepare_threshold is None:
        return False
    await connection.execute(f"listen {channel}")
    return True


async def wait_notified(connection: AsyncConnection, seconds: float | None) -> list[str]:
    """Waits for a notification on this listening connection. Returns its payload, and the payloads that arrive together with it.

    Returns an empty list if nothing arrives within ``seconds``. If ``seconds`` is None, waits without a limit.
    """
    try:
        # asyncio.timeout() uses the clock of the loop, which no test freezes. The time-out of notifies() would use another clock.
        async with asyncio.timeout(seconds):
            return [notify.payload async for notify in connection.notifies(stop_after=1)]
    except TimeoutError:
        return []

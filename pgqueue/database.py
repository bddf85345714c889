"""The only place that executes SQL: on our own connections, and on the caller's, whatever kind that is.

``run`` and ``run_async`` are the only coloured code. They run a ``Statement`` on psycopg connections, and on SQLAlchemy's
Connection, Session, AsyncConnection and AsyncSession through SQLAlchemy itself: a statement sent past it, on the raw
driver connection, would not begin SQLAlchemy's transaction and be lost at its end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from tenacity import (
    AsyncRetrying,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from pgqueue import errors
from pgqueue.config import redact
from pgqueue.sql import Statement

T = TypeVar("T")
log = logging.getLogger("pgqueue")

PARAMETER = re.compile(r"%\((\w+)\)s")
KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# The hot statements have one good plan each. Pinned, because statistics of a queue are wrong most of the time, and all of
# these together: a half-pinned plan was a hundred times slower than none.
PINNED = (
    "set plan_cache_mode = force_generic_plan; set jit = off; set enable_seqscan = off; set enable_bitmapscan = off;"
    " set enable_hashjoin = off; set enable_mergejoin = off; set default_transaction_isolation = 'read committed';"
    " set statement_timeout = '60s'; set timezone = 'UTC'"
)
ORDINARY = "set default_transaction_isolation = 'read committed'; set timezone = 'UTC'"
RECONNECT = wait_exponential(multiplier=0.05, max=2.0) + wait_random(0, 0.1)
LOGIN = "check user, password and database of the DSN"
CONNECTIONS = "run fewer workers (each process holds 4 connections), or raise max_connections"
GRANT = (
    "grant usage on schema pgqueue to ROLE; grant select, insert, update, delete on all tables in schema pgqueue to ROLE;"
    " grant usage, select, update on all sequences in schema pgqueue to ROLE"
)
TROUBLE = (psycopg.OperationalError, psycopg.InterfaceError)


# ------------------------------------------------------------------ statements on any connection


def run(connection: Any, statement: Statement[T]) -> T:
    """Runs a statement in the caller's transaction on a psycopg Connection or SQLAlchemy Connection or Session."""
    if isinstance(connection, Connection):
        with _explained():
            return statement.decode(connection.execute(statement.text, statement.parameters).fetchall())
    execute = _sqlalchemy(connection, asynchronous=False)
    with _explained():
        return statement.decode(execute(_sqlalchemy_text(statement.text), statement.parameters).fetchall())


async def run_async(connection: Any, statement: Statement[T]) -> T:
    """The same on a psycopg AsyncConnection or SQLAlchemy AsyncConnection or AsyncSession."""
    if isinstance(connection, AsyncConnection):
        with _explained():
            cursor = await connection.execute(statement.text, statement.parameters)
            return statement.decode(await cursor.fetchall())
    execute = _sqlalchemy(connection, asynchronous=True)
    with _explained():
        result = await execute(_sqlalchemy_text(statement.text), statement.parameters)
        return statement.decode(result.fetchall())


def is_async(connection: Any) -> bool:
    """Whether this connection wants ``await``; raises WrongConnectionError for what is no connection."""
    if isinstance(connection, Connection | AsyncConnection):
        return isinstance(connection, AsyncConnection)
    kind = _sqlalchemy_kind(connection.__class__)
    if kind is None:
        raise errors.WrongConnectionError(
            f"{type(connection).__module__}.{type(connection).__name__} is no connection that pgqueue can join.",
            do="pass a psycopg connection, or SQLAlchemy's Connection, Session, AsyncConnection or AsyncSession",
        )
    return kind == "async"


def warn_if_autocommit(connection: Any) -> None:
    """PGQ-502: on an autocommit connection outside a transaction nothing ties the job to the business write."""
    if (
        isinstance(connection, Connection | AsyncConnection)
        and connection.autocommit
        and connection.info.transaction_status is TransactionStatus.IDLE
    ):
        warnings.warn(
            "PGQ-502  A job is enqueued on an autocommit connection outside a transaction, so a later rollback will"
            " not take it back. Use `with conn.transaction():` around both, or a connection without autocommit.",
            errors.AutocommitWarning,
            stacklevel=4,
        )


@cache
def _sqlalchemy_kind(cls: type) -> str | None:
    names = {f"{base.__module__}.{base.__name__}" for base in cls.__mro__}
    if names & {
        "sqlalchemy.ext.asyncio.engine.AsyncConnection",
        "sqlalchemy.ext.asyncio.session.AsyncSession",
    }:
        return "async"
    if names & {
        "sqlalchemy.engine.base.Connection",
        "sqlalchemy.orm.session.Session",
        "sqlalchemy.ext.asyncio.session.async_scoped_session",
    }:
        return "sync"
    return None


def _sqlalchemy(connection: Any, *, asynchronous: bool) -> Callable[..., Any]:
    if is_async(connection) is not asynchronous:
        wanted, verb = (
            ("an async", "await task.aenqueue(…)") if not asynchronous else ("a sync", "task.enqueue(…)")
        )
        raise errors.WrongConnectionError(f"This is {wanted} connection.", do=f"use {verb}")
    execute: Callable[..., Any] = connection.execute
    return execute


@cache
def _sqlalchemy_text(text: str) -> Any:
    from sqlalchemy import text as sqlalchemy_text  # noqa: PLC0415 - only its users pay for its import

    return sqlalchemy_text(PARAMETER.sub(r"(:\1)", text).replace("%%", "%"))


# ------------------------------------------------------------------ what an error of the driver means


# SQLSTATE: the error, what it says, what to do.
MEANINGS: dict[str, tuple[type[errors.PgQueueError], str, str]] = {
    "28P01": (errors.LoginRefusedError, "The server refused the login", LOGIN),
    "28000": (errors.LoginRefusedError, "The server refused the login", LOGIN),
    "3D000": (errors.LoginRefusedError, "The server has no such database", LOGIN),
    "53300": (errors.TooManyConnectionsError, "The server has no free connection", CONNECTIONS),
    "42501": (errors.MissingPrivilegeError, "This database role may not do that", GRANT),
    "25006": (
        errors.ReadOnlyServerError,
        "This server is read-only",
        "connect to the primary, not to a standby",
    ),
    "3F000": (errors.SchemaMissingError, "This database has no pgqueue tables", "pgq migrate"),
    "42P01": (errors.SchemaMissingError, "This database has no pgqueue tables", "pgq migrate"),
    "42883": (errors.SchemaMissingError, "This database has no such pgqueue function", "pgq migrate"),
    "PQ404": (errors.InvalidOptionError, "The database refused the job", "correct the option"),
    "23514": (errors.InvalidOptionError, "The database refused a value of the job", "correct the value"),
}
# What libpq says before there is a session, and so a SQLSTATE; the first that fits.
SAYINGS: tuple[tuple[str, str], ...] = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("does not exist", "3D000"),
    ("too many clients", "53300"),
    ("too many connections", "53300"),
    ("remaining connection slots", "53300"),
)
BAD_PORT = ("invalid port number", "Servname not supported")


def explain(error: psycopg.Error, dsn: str = "") -> errors.PgQueueError | None:
    """The error in pgqueue's words, or None if it is not one that we know."""
    whole = str(error)
    said = (whole.strip().splitlines() or [type(error).__name__])[0]
    said = re.sub(
        r"(resolve host ')[^']*@", r"\1", said
    )  # what follows an @ inside a password is taken for the host
    where = f" ({redact(dsn)})." if dsn else "."
    state = error.sqlstate
    unreadable = isinstance(error, psycopg.ProgrammingError) or any(saying in whole for saying in BAD_PORT)
    if state is None and unreadable and dsn:
        do = "write it as postgresql://user@host:5432/database"
        return errors.InvalidSettingError(
            "The DSN cannot be read.", do=do
        )  # libpq's words may quote the password
    if state is None and isinstance(error, psycopg.OperationalError):
        state = next((state for saying, state in SAYINGS if saying in whole), None)
        if state is None:
            do = "is it running, and is this its host and port?"
            return errors.DatabaseUnreachableError(f"The database cannot be reached{where}", why=said, do=do)
    foreign = state in {"3F000", "42P01", "42883", "23514"} and "pgqueue" not in whole + (
        error.diag.schema_name or ""
    )
    if state not in MEANINGS or foreign:
        return None
    kind, what, do = MEANINGS[state]
    return kind(what + where, why=error.diag.message_primary or said, do=do)


@contextmanager
def _explained(dsn: str = "") -> Iterator[None]:
    """Only what the user can mend is translated; what may heal by itself stays psycopg's error for our own retries."""
    try:
        yield
    except Exception as error:
        origin = getattr(error, "orig", error)  # SQLAlchemy wraps it
        if not isinstance(origin, psycopg.Error) or (
            isinstance(origin, psycopg.OperationalError) and not dsn
        ):
            raise
        known = explain(origin, dsn)
        if known is None:
            raise
        raise known from None if dsn else error  # what libpq quotes of a DSN may be a part of the password


# ------------------------------------------------------------------ our own connections


def connect(dsn: str, *, name: str = "pgqueue") -> Connection[Any]:
    """An autocommit connection; raises the DatabaseError that says why there is none."""
    with _explained(dsn or " "):
        connection = psycopg.connect(dsn, autocommit=True, application_name=name, **KEEPALIVE)
    connection.execute(ORDINARY)
    return connection


async def connect_async(dsn: str, *, name: str, session: str = PINNED) -> AsyncConnection[Any]:
    """An autocommit connection of the worker, by default with pinned plans and statements prepared at first use."""
    connection = await AsyncConnection.connect(dsn, autocommit=True, application_name=name, **KEEPALIVE)
    await connection.execute(session)
    connection.prepare_threshold = 0
    return connection


class Outage:
    """One line when the database goes away and one when it is back, however many connections notice, and however late."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.since: float | None = None
        self._ended = 0.0
        self._lock = threading.Lock()

    def lost(self, error: BaseException, opened: float) -> None:
        """A connection broke, or could not be made, that was begun at ``opened``: if before the end of the last outage, in it."""
        with self._lock:
            if self.since is None and opened >= self._ended:
                self.since = time.monotonic()
                why = str(error).strip().splitlines() or [type(error).__name__]
                log.warning(
                    "the database went away (%s): %s; trying again until it is back",
                    redact(self.dsn),
                    why[-1],
                )

    def over(self) -> None:
        """A new connection was made."""
        with self._lock:
            if self.since is not None:
                self._ended = time.monotonic()
                log.warning("the database is back after %.1f s", self._ended - self.since)
                self.since = None


def is_trouble(error: BaseException) -> bool:
    """Whether trying again may help: the connection broke, the server restarts, or a deadlock picked us."""
    if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
        return True
    return isinstance(error, TROUBLE)


class Link:
    """A connection of the worker that comes back by itself."""

    def __init__(self, dsn: str, name: str, outage: Outage, *, session: str = PINNED) -> None:
        self._dsn, self._name, self._outage, self._session = dsn, name, outage, session
        self._connection: AsyncConnection[Any] | None = None
        self._opened = 0.0
        self._connecting = asyncio.Lock()

    async def connection(self) -> AsyncConnection[Any]:
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                self._opened = time.monotonic()
                self._connection = await connect_async(self._dsn, name=self._name, session=self._session)
                self._outage.over()
            return self._connection

    async def once(self, statement: Statement[T]) -> T:
        """One try. A connection that broke, or on which a statement was cut off, is dropped: the next try opens a new one."""
        try:
            return await run_async(await self.connection(), statement)
        except TROUBLE as error:
            await self.lost(error)
            raise
        except BaseException as error:
            if not isinstance(error, psycopg.Error):
                await self.close()
            raise

    async def run(self, statement: Statement[T]) -> T:
        """Tries until the server answers. Only for what may run twice: a claim whose answer is lost is rescued."""
        async for attempt in AsyncRetrying(retry=retry_if_exception(is_trouble), wait=RECONNECT):
            with attempt:
                return await self.once(statement)
        raise AssertionError

    async def wait_until_back(self) -> None:
        """Returns once the server can be reached again."""
        async for attempt in AsyncRetrying(retry=retry_if_exception(is_trouble), wait=RECONNECT):
            with attempt:
                try:
                    await self.connection()
                except TROUBLE as error:
                    await self.lost(error)
                    raise

    async def lost(self, error: BaseException) -> None:
        """Notes that the connection broke; only a break of the whole server is worth a line."""
        if not isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
            self._outage.lost(error, self._opened)
        await self.close()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close()
            except psycopg.Error:
                log.debug("closing a broken connection failed", exc_info=True)


def retry_connecting(seconds: float) -> Retrying:
    """For ``--wait-for-db``: tries for that long while the server cannot be reached."""
    return Retrying(
        retry=retry_if_exception(
            lambda e: isinstance(e, errors.DatabaseUnreachableError | errors.TooManyConnectionsError)
        ),
        wait=RECONNECT,
        stop=stop_after_delay(seconds),
        reraise=True,
    )


Pool = WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConnectionPool[AsyncConnection[Any]]]


class Pools:
    """The application's own connections: a pool for sync callers, and one for each event loop. Safe over fork."""

    def __init__(self, dsn: Callable[[], str], size: int = 10) -> None:
        self._dsn, self._size = dsn, size
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._sync: ConnectionPool[Connection[Any]] | None = None
        self._async: Pool = WeakKeyDictionary()

    def _forked(self) -> None:
        # An inherited socket belongs to the parent: forget it without closing it.
        if self._pid != os.getpid():
            self._pid, self._sync, self._async = os.getpid(), None, WeakKeyDictionary()

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """A connection in a transaction that commits at the end of the block."""
        with self._lock:
            self._forked()
            if self._sync is None:
                dsn = self._dsn()
                connect(dsn).close()  # a clear error now instead of a time-out of the pool
                self._sync = ConnectionPool(
                    dsn,
                    check=ConnectionPool.check_connection,  # one that an outage broke costs no job its attempt
                    min_size=1,
                    max_size=self._size,
                    kwargs={"application_name": "pgqueue app", **KEEPALIVE},
                    open=True,
                )
            pool = self._sync
        with pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def connection_async(self) -> AsyncIterator[AsyncConnection[Any]]:
        """The same for the running event loop."""
        self._forked()
        loop = asyncio.get_running_loop()
        pool = self._async.get(loop)
        if pool is None:
            dsn = self._dsn()
            with _explained(dsn or " "):  # a clear error now instead of a time-out of the pool
                await (await connect_async(dsn, name="pgqueue app", session=ORDINARY)).close()
            pool = self._async.setdefault(
                loop,
                AsyncConnectionPool(
                    dsn,
                    check=AsyncConnectionPool.check_connection,
                    min_size=1,
                    max_size=self._size,
                    kwargs={"application_name": "pgqueue app", **KEEPALIVE},
                    open=False,
                ),
            )
        await pool.open()  # does nothing if it is open
        async with pool.connection() as connection:
            yield connection

    def close(self) -> None:
        with self._lock:
            pool, self._sync = self._sync, None
        if pool is not None:
            pool.close()

    async def aclose(self) -> None:
        pool = self._async.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()
        self.close()


async def wait_notified(connection: AsyncConnection[Any], seconds: float) -> list[str]:
    """The payloads that arrive on this listening connection: the first within ``seconds``, and those with it."""
    return [notify.payload async for notify in connection.notifies(timeout=seconds, stop_after=1)]

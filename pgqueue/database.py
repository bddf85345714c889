"""The only place that executes SQL: on our own connections, and on the caller's, whatever kind that is.

``run`` and ``run_async`` are the only coloured code. They run a ``Statement`` on psycopg connections, and on SQLAlchemy's
Connection, Session, AsyncConnection and AsyncSession through SQLAlchemy itself: a statement sent past it, on the raw
driver connection, would not begin SQLAlchemy's transaction and be lost at its end.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import AsyncClientCursor, AsyncConnection, ClientCursor, Connection
from psycopg.pq import TransactionStatus

from pgqueue import errors
from pgqueue.diagnosis import explained
from pgqueue.sql import Statement

T = TypeVar("T")

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
# A claim that a crash of the server undoes leaves the job pending, so it need not wait for the disk. Two leases may then
# have one number: the fence names the worker too (complete.sql). Who registers a worker must not use it.
CLAIMING = PINNED + "; set synchronous_commit = off"
BACKEND = "select pg_backend_pid()"
POOLER_TRIES = 5
ORDINARY = "set default_transaction_isolation = 'read committed'; set timezone = 'UTC'"


# ------------------------------------------------------------------ statements on any connection


def run(connection: Any, statement: Statement[T]) -> T:
    """Runs a statement in the caller's transaction on a psycopg Connection or SQLAlchemy Connection or Session."""
    if isinstance(connection, Connection):
        with explained():
            return statement.decode(connection.execute(statement.text, statement.parameters).fetchall())
    execute = _sqlalchemy(connection, asynchronous=False)
    with explained():
        return statement.decode(execute(_sqlalchemy_text(statement.text), statement.parameters).fetchall())


async def run_async(connection: Any, statement: Statement[T]) -> T:
    """The same on a psycopg AsyncConnection or SQLAlchemy AsyncConnection or AsyncSession."""
    if isinstance(connection, AsyncConnection):
        with explained():
            cursor = await connection.execute(statement.text, statement.parameters)
            return statement.decode(await cursor.fetchall())
    execute = _sqlalchemy(connection, asynchronous=True)
    with explained():
        result = await execute(_sqlalchemy_text(statement.text), statement.parameters)
        return statement.decode(result.fetchall())


def run_and_commit(connection: Any, statement: Statement[T]) -> T:
    """Runs the last statement of a psycopg connection's transaction in one message with its COMMIT.

    So what it locks is not held while this process is stopped or the network is gone. (A message with two statements has its
    parameters written into it.)
    """
    with explained():
        cursor = ClientCursor(connection).execute(_with_commit(statement.text), statement.parameters)
        return statement.decode(cursor.fetchall())


async def run_and_commit_async(connection: Any, statement: Statement[T]) -> T:
    """The same on an AsyncConnection."""
    with explained():
        cursor = await AsyncClientCursor(connection).execute(
            _with_commit(statement.text), statement.parameters
        )
        return statement.decode(await cursor.fetchall())


def _with_commit(text: LiteralString) -> LiteralString:
    return text + "; commit"


def copy(connection: Connection[Any], statement: Statement[None], blocks: Iterable[str]) -> None:
    """Runs a COPY … FROM STDIN in the caller's transaction. SQLAlchemy has no words for it: psycopg's connections only."""
    with explained(), connection.cursor().copy(statement.text) as sink:
        for block in blocks:
            sink.write(block)


async def copy_async(
    connection: AsyncConnection[Any], statement: Statement[None], blocks: Iterable[str]
) -> None:
    """The same on a psycopg AsyncConnection."""
    with explained():
        async with connection.cursor().copy(statement.text) as sink:
            for block in blocks:
                await sink.write(block)


def can_copy(connection: Any) -> bool:
    return isinstance(connection, Connection | AsyncConnection)


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
        "sqlalchemy.ext.asyncio.scoping.async_scoped_session",
    }:
        return "async"
    if names & {
        "sqlalchemy.engine.base.Connection",
        "sqlalchemy.orm.session.Session",
        "sqlalchemy.orm.scoping.scoped_session",
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


# ------------------------------------------------------------------ our own connections


def connect(dsn: str, *, name: str = "pgqueue") -> Connection[Any]:
    """An autocommit connection; raises the DatabaseError that says why there is none."""
    with explained(dsn or " "):
        connection = psycopg.connect(dsn, autocommit=True, application_name=name, **KEEPALIVE)
    if is_pooled(connection):
        connection.prepare_threshold = None
    else:
        connection.execute(ORDINARY)
    return connection


async def connect_async(dsn: str, *, name: str, session: str = PINNED) -> AsyncConnection[Any]:
    """An autocommit connection of the worker, by default with pinned plans and statements prepared at first use."""
    connection = await AsyncConnection.connect(dsn, autocommit=True, application_name=name, **KEEPALIVE)
    if session == ORDINARY:
        [(pid,)] = await (await connection.execute(BACKEND)).fetchall()
        if pid != connection.info.backend_pid:
            connection.prepare_threshold = None
            return connection
    await connection.execute(session)
    connection.prepare_threshold = 0
    return connection


def is_pooled(connection: Connection[Any]) -> bool:
    """Whether a pooler answers in the server's place. In transaction mode what a session sets or prepares is soon another client's."""
    return _backend(connection) != connection.info.backend_pid


def check_sessions(dsn: str) -> None:
    """Raises InvalidSettingError if this leads to a pooler in transaction mode, before anything is set in its sessions.

    There one session answers two connections in turn, or two sessions one.
    """
    with (
        explained(dsn or " "),
        psycopg.connect(dsn, autocommit=True, prepare_threshold=None, **KEEPALIVE) as one,
    ):
        if not is_pooled(one):
            return
        with psycopg.connect(dsn, prepare_threshold=None, **KEEPALIVE) as two:
            for _ in range(POOLER_TRIES):
                before = _backend(one)
                between = _backend(two)  # in a transaction, which keeps that session from the other one
                if before != between and _backend(one) == before:
                    two.rollback()
                    continue
                raise errors.InvalidSettingError(
                    "The worker's DSN leads to a pooler in transaction mode.",
                    why="a worker prepares statements and sets its sessions to its needs, which other clients would get",
                    do="give the worker the address of the server, or of a pooler in session mode; who enqueues may use this one",
                )


def _backend(connection: Connection[Any]) -> int:
    [(pid,)] = connection.execute(BACKEND).fetchall()
    return int(pid)


async def wait_notified(connection: AsyncConnection[Any], seconds: float | None) -> list[str]:
    """The payloads that arrive on this listening connection: the first within ``seconds``, if given, and those with it."""
    return [notify.payload async for notify in connection.notifies(timeout=seconds, stop_after=1)]

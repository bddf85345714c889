"""The connections that a caller can pass (psycopg's, SQLAlchemy's, asyncpg's, Django's), and what they can do. This module sends no statement.

SQLAlchemy, asyncpg and Django are recognized by the names of their classes, so that none of them is imported.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from psycopg import AsyncConnection, Connection
from psycopg.pq import PipelineStatus, TransactionStatus
from typing_extensions import TypeIs

from pgqueue import errors
from pgqueue.sql import Row

# A connection of psycopg, SQLAlchemy, asyncpg or Django. No type says so, because pgqueue imports only psycopg.
CallersConnection = object


if TYPE_CHECKING:
    from sqlalchemy import Connection as SqlAlchemyConnection
    from sqlalchemy.ext.asyncio import AsyncConnection as SqlAlchemyAsyncConnection
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    SqlAlchemySync = SqlAlchemyConnection | Session | scoped_session[Session]
    SqlAlchemyAsync = SqlAlchemyAsyncConnection | AsyncSession | async_scoped_session[AsyncSession]


class AsyncpgTransaction(AbstractAsyncContextManager[None], Protocol):
    """What pgqueue calls on a transaction of asyncpg."""

    def start(self) -> Awaitable[None]: ...
    def commit(self) -> Awaitable[None]: ...
    def rollback(self) -> Awaitable[None]: ...


class AsyncpgConnection(Protocol):
    """What pgqueue calls on a connection of asyncpg, which has no types of its own."""

    def fetch(self, query: str, *args: object) -> Awaitable[Sequence[Row]]: ...
    def execute(self, query: str) -> Awaitable[str]: ...
    def transaction(self) -> AsyncpgTransaction: ...
    def is_in_transaction(self) -> bool: ...
    def add_query_logger(self, log: Callable[[AsyncpgQuery], None], /) -> None: ...
    def remove_query_logger(self, log: Callable[[AsyncpgQuery], None], /) -> None: ...
    def terminate(self) -> None: ...
    def is_closed(self) -> bool: ...
    def get_settings(self) -> Any: ...
    def copy_to_table(
        self,
        table_name: str,
        *,
        source: AsyncIterable[bytes],
        columns: Sequence[str],
        schema_name: str,
        format: str,  # noqa: A002 - asyncpg's name
    ) -> Awaitable[str]: ...


class AsyncpgQuery(Protocol):
    """What asyncpg says about a query that it has run. ``elapsed``: seconds."""

    query: str
    elapsed: float
    exception: BaseException | None


class NotGiven:
    """The type of ``NOT_GIVEN``, the default of a parameter for a connection. The default is not None, so that None can be refused."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN = NotGiven()

KINDS = {
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": "async",
    "sqlalchemy.ext.asyncio.session.AsyncSession": "async",
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session": "async",
    "sqlalchemy.engine.base.Connection": "sync",
    "sqlalchemy.orm.session.Session": "sync",
    "sqlalchemy.orm.scoping.scoped_session": "sync",
    "sqlalchemy.pool.base.PoolProxiedConnection": "raw",
    "asyncpg.connection.Connection": "asyncpg",
    "asyncpg.pool.PoolConnectionProxy": "asyncpg",
    "django.utils.connection.ConnectionProxy": "django",
    "django.db.backends.base.base.BaseDatabaseWrapper": "django",
}


def given(connection: object) -> CallersConnection | None:
    """Returns the caller's connection; None if the caller gave none, so that the app's own connections are used.

    If the caller gave None, raises WrongConnectionError: with a variable that has no connection yet, the call would not join the caller's transaction.
    """
    if connection is None:
        raise errors.WrongConnectionError(
            "None is given in place of a connection.",
            why="without a connection, the call would not belong to your transaction",
            do="pass the connection of your transaction, or leave this argument out: then the call commits by itself",
        )
    return None if connection is NOT_GIVEN else connection


def joined(connection: CallersConnection) -> CallersConnection:
    """Returns the connection on which statements are sent.

    For Django's connection and SQLAlchemy's raw connection, this is the psycopg connection inside. Else it is ``connection`` itself.
    """
    if isinstance(connection, Connection | AsyncConnection):
        return connection
    kind = kind_of(connection)
    if kind == "django":
        return _inside_django(connection)
    if kind == "raw":
        return _inside_sqlalchemy(connection)
    return connection


def _inside_sqlalchemy(raw: Any) -> Connection | AsyncConnection:
    return _psycopg(raw.driver_connection, "SQLAlchemy's raw connection")


def _inside_django(wrapper: Any) -> Connection | AsyncConnection:
    if wrapper.vendor != "postgresql":
        raise errors.WrongConnectionError(
            f"Django's connection {wrapper.alias!r} leads to {wrapper.vendor}.",
            do="use the connection of the PostgreSQL database that has pgqueue's tables: django.db.connections[…]",
        )
    wrapper.validate_thread_sharing()
    wrapper.ensure_connection()
    wrapper.validate_no_broken_transaction()
    return _psycopg(wrapper.connection, f"Django's connection {wrapper.alias!r}")


def _psycopg(driver: object, where: str) -> Connection | AsyncConnection:
    if not isinstance(driver, Connection | AsyncConnection):
        raise errors.WrongConnectionError(
            f"{where} is a connection of {type(driver).__module__.partition('.')[0]}, which pgqueue cannot use.",
            do="let it use psycopg 3: pip install 'psycopg[binary]'",
        )
    return driver


def is_async(connection: CallersConnection) -> bool:
    """Returns whether this connection wants ``await``. If it is no connection, raises WrongConnectionError."""
    if isinstance(connection, Connection | AsyncConnection):
        return isinstance(connection, AsyncConnection)
    kind = kind_of(connection)
    if kind is None:
        raise errors.WrongConnectionError(
            f"{type(connection).__module__}.{type(connection).__name__} is no connection that pgqueue can join.",
            do="pass a psycopg (3) connection, SQLAlchemy's Connection, Session, AsyncConnection or AsyncSession,"
            " asyncpg's connection, or Django's connection",
        )
    return kind in ("async", "asyncpg")


def is_asyncpg(connection: CallersConnection) -> TypeIs[AsyncpgConnection]:
    return kind_of(connection) == "asyncpg"


def is_sync_sqlalchemy(connection: CallersConnection) -> TypeIs[SqlAlchemySync]:
    return kind_of(connection) == "sync"


def is_async_sqlalchemy(connection: CallersConnection) -> TypeIs[SqlAlchemyAsync]:
    return kind_of(connection) == "async"


def commits_by_itself(
    connection: CallersConnection,
) -> TypeGuard[Connection | AsyncConnection | AsyncpgConnection]:
    """Returns whether each statement on this connection now commits by itself.

    If so, warns with PGQ-502, because a rollback of the caller's other writes would not remove the job.
    """
    alone = _is_alone(connection)
    if alone:
        warnings.warn(
            "PGQ-502  A job is enqueued on an autocommit connection outside a transaction, so a later rollback will"
            " not take it back. Use `with conn.transaction():` (asyncpg: `async with`; Django: `with transaction.atomic():`)"
            " around both, or a connection without autocommit.",
            errors.AutocommitWarning,
            stacklevel=5,
        )
    return alone


def _is_alone(connection: CallersConnection) -> bool:
    if isinstance(connection, Connection | AsyncConnection):
        return connection.autocommit and connection.info.transaction_status is TransactionStatus.IDLE
    return is_asyncpg(connection) and not connection.is_in_transaction()


def is_utf8(connection: CallersConnection) -> bool:
    """Returns whether all text reaches the server unchanged. False: text can be changed or refused."""
    if isinstance(connection, Connection | AsyncConnection):
        return connection.pgconn.parameter_status(b"client_encoding") == b"UTF8"
    return is_asyncpg(connection) and connection.get_settings().client_encoding.upper() in ("UTF8", "UTF-8")


def can_copy(connection: CallersConnection) -> bool:
    """Returns whether COPY is possible on this connection. It is not possible through SQLAlchemy or in a pipeline."""
    if isinstance(connection, Connection | AsyncConnection):
        return connection.info.pipeline_status is PipelineStatus.OFF
    return is_asyncpg(connection)


def is_closed(connection: Connection | AsyncConnection | AsyncpgConnection) -> bool:
    return (
        connection.closed if isinstance(connection, Connection | AsyncConnection) else connection.is_closed()
    )


def is_two_phase(connection: CallersConnection) -> bool:
    """Returns whether the connection's transaction is two-phase. Postgres cannot prepare a transaction that has sent a NOTIFY."""
    if isinstance(connection, Connection | AsyncConnection):
        return connection._tpc is not None  # noqa: SLF001 - psycopg has no public attribute for this
    return not is_asyncpg(connection) and _is_two_phase_in_sqlalchemy(connection)


def _is_two_phase_in_sqlalchemy(connection: Any) -> bool:
    if hasattr(connection, "registry"):  # a scoped session
        connection = connection.registry()
    for inside in ("sync_session", "sync_connection"):
        connection = getattr(connection, inside, None) or connection
    if hasattr(connection, "twophase"):
        return bool(connection.twophase)
    return type(connection.get_transaction()).__name__ == "TwoPhaseTransaction"


def kind_of(given: object, kinds: Mapping[str, str] = KINDS) -> str | None:
    """Returns the kind of the object's class, or of the first of its base classes that is a key of ``kinds``; None if there is none."""
    cls: type = given.__class__  # a proxy returns the class of the object behind it
    return next((kind for name in _names(cls) if (kind := kinds.get(name))), None)


@cache
def _names(cls: type) -> list[str]:
    return [f"{base.__module__}.{base.__name__}" for base in cls.__mro__]

"""The makers of connections and sessions that ``job.transaction(using=…)`` takes: a sessionmaker, an Engine, a pool.

An open connection is refused, because its owner could commit it before the job is completed on it, or never. SQLAlchemy and asyncpg are
recognized by the names of their classes, so that neither is imported.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from psycopg_pool import AsyncConnectionPool, ConnectionPool
from typing_extensions import TypeIs

from pgqueue.database.for_django import DjangoConnection
from pgqueue.database.joining import AsyncpgConnection, kind_of
from pgqueue.errors import WrongConnectionError

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
    from sqlalchemy.orm import Session, sessionmaker

MAKERS = {
    "sqlalchemy.orm.session.sessionmaker": "session",
    "sqlalchemy.engine.base.Engine": "engine",
    "sqlalchemy.ext.asyncio.session.async_sessionmaker": "async session",
    "sqlalchemy.ext.asyncio.engine.AsyncEngine": "async engine",
    "asyncpg.pool.Pool": "asyncpg",
    "django.utils.connection.ConnectionProxy": "django",
    "django.db.backends.base.base.BaseDatabaseWrapper": "django",
}
TAKES = "a sessionmaker, an Engine, a psycopg pool or Django's connection; with atransaction, an async_sessionmaker, an AsyncEngine, an async psycopg pool or an asyncpg pool"


class AsyncpgPool(Protocol):
    """What pgqueue calls on a pool of asyncpg."""

    def acquire(self) -> AsyncpgLent: ...
    def release(self, connection: AsyncpgConnection) -> Awaitable[None]: ...


class AsyncpgLent(Awaitable[AsyncpgConnection], AbstractAsyncContextManager[AsyncpgConnection], Protocol):
    """What ``acquire`` of asyncpg's pool returns: ``async with`` gives the connection back, and ``await`` does not."""


def is_sessionmaker(using: object) -> TypeIs[sessionmaker[Session]]:
    return kind_of(using, MAKERS) == "session"


def is_engine(using: object) -> TypeIs[Engine]:
    return kind_of(using, MAKERS) == "engine"


def is_async_sessionmaker(using: object) -> TypeIs[async_sessionmaker[AsyncSession]]:
    return kind_of(using, MAKERS) == "async session"


def is_async_engine(using: object) -> TypeIs[AsyncEngine]:
    return kind_of(using, MAKERS) == "async engine"


def is_asyncpg_pool(using: object) -> TypeIs[AsyncpgPool]:
    return kind_of(using, MAKERS) == "asyncpg"


def is_django(using: object) -> TypeIs[DjangoConnection]:
    return kind_of(using, MAKERS) == "django"


def refused(using: object, verb: str, *, asynchronous: bool) -> WrongConnectionError:
    """Returns the error to raise if ``using`` is not a maker that ``verb`` (``transaction`` or ``atransaction``) takes."""
    cls = type(using)
    for_the_other = (
        isinstance(using, ConnectionPool) or kind_of(using, MAKERS) in ("session", "engine", "django")
        if asynchronous
        else isinstance(using, AsyncConnectionPool) or kind_of(using, MAKERS) is not None
    )
    other = "transaction" if asynchronous else "atransaction"
    return WrongConnectionError(
        f"{verb}(using=…) was given {cls.__module__}.{cls.__name__}.",
        why=f"only {other}(using=…) takes it" if for_the_other else "pgqueue cannot get a connection from it",
        do=f"use job.{other}(using=…)" if for_the_other else f"pass {TAKES}",
    )

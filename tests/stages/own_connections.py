"""Every value of the option ``using``, from which pgqueue gets a connection, and a shop whose jobs use it to complete themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

import asyncpg
import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from pgqueue import App, Job, Task
from pgqueue.config import WorkerSettings
from pgqueue.database.dsn import sqlalchemy_url
from pgqueue.worker.worker import Worker

WRITE = "insert into public.effects (n) values (1)"


def url_of(dsn: str, driver: str) -> URL:
    if driver == "psycopg":
        return make_url(sqlalchemy_url(dsn))
    parts = place(dsn)
    query = {"host": str(parts["host"]), "port": str(parts["port"])}
    return URL.create("postgresql+asyncpg", parts["user"], database=parts["database"], query=query)


def place(dsn: str) -> dict[str, Any]:
    """Returns the address of the database, under the names that the parameters of asyncpg have."""
    parts = conninfo_to_dict(dsn)
    return {
        "host": parts["host"],
        "port": int(parts["port"] or 5432),
        "user": parts.get("user", "postgres"),
        "database": parts["dbname"],
    }


# ------------------------------------------------------------------ values of the option ``using``, from which pgqueue gets a connection


@contextmanager
def of_the_app(_dsn: str) -> Iterator[Any]:
    yield None


@contextmanager
def pool(dsn: str) -> Iterator[Any]:
    with ConnectionPool(dsn, min_size=1, max_size=2) as made:
        yield made


@contextmanager
def autocommit_pool(dsn: str) -> Iterator[Any]:
    with ConnectionPool(dsn, min_size=1, max_size=2, kwargs={"autocommit": True}) as made:
        yield made


@contextmanager
def engine(dsn: str) -> Iterator[Any]:
    made = create_engine(url_of(dsn, "psycopg"))
    try:
        yield made
    finally:
        made.dispose()


@contextmanager
def sessions(dsn: str) -> Iterator[Any]:
    with engine(dsn) as bind:
        yield sessionmaker(bind)


SYNC: dict[str, Callable[[str], AbstractContextManager[Any]]] = {
    "the app": of_the_app,
    "a pool": pool,
    "an autocommit pool": autocommit_pool,
    "an engine": engine,
    "a sessionmaker": sessions,
}


@asynccontextmanager
async def of_the_app_async(_dsn: str) -> AsyncIterator[Any]:
    yield None


@asynccontextmanager
async def async_pool(dsn: str) -> AsyncIterator[Any]:
    async with AsyncConnectionPool(dsn, min_size=1, max_size=2, open=False) as made:
        yield made


@asynccontextmanager
async def async_autocommit_pool(dsn: str) -> AsyncIterator[Any]:
    async with AsyncConnectionPool(
        dsn, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}
    ) as made:
        yield made


@asynccontextmanager
async def asyncpg_pool(dsn: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(min_size=1, max_size=2, ssl=False, **place(dsn)) as made:
        yield made


@asynccontextmanager
async def async_engine(dsn: str) -> AsyncIterator[Any]:
    made = create_async_engine(url_of(dsn, "psycopg"))
    try:
        yield made
    finally:
        await made.dispose()


@asynccontextmanager
async def async_sessions(dsn: str) -> AsyncIterator[Any]:
    async with async_engine(dsn) as bind:
        yield async_sessionmaker(bind)


@asynccontextmanager
async def asyncpg_sessions(dsn: str) -> AsyncIterator[Any]:
    made = create_async_engine(url_of(dsn, "asyncpg"), connect_args={"ssl": False})
    try:
        yield async_sessionmaker(made)
    finally:
        await made.dispose()


ASYNC: dict[str, Callable[[str], AbstractAsyncContextManager[Any]]] = {
    "the app": of_the_app_async,
    "an async pool": async_pool,
    "an async autocommit pool": async_autocommit_pool,
    "a pool of asyncpg": asyncpg_pool,
    "an async engine": async_engine,
    "an async_sessionmaker": async_sessions,
    "an async_sessionmaker on asyncpg": asyncpg_sessions,
}


ALL = [*(f"sync {name}" for name in SYNC), *(f"async {name}" for name in ASYNC)]


# ------------------------------------------------------------------ a job that uses such a connection


def write(given: Any) -> None:
    if isinstance(given, psycopg.Connection):
        given.execute(WRITE)
    else:
        given.execute(text(WRITE))


async def awrite(given: Any) -> None:
    if isinstance(given, psycopg.AsyncConnection) or type(given).__module__.startswith("asyncpg"):
        await given.execute(WRITE)
    else:
        await given.execute(text(WRITE))


class Shop:
    """Has an app with the task ``pay``. In one transaction, a job of ``pay`` writes a row, enqueues a job of ``tell``, and completes itself.

    ``write`` and ``awrite`` write the row. ``before`` runs before the end of the transaction. ``dsn`` leads to the database, perhaps
    through a proxy.
    """

    def __init__(self, app: App, db: Connection[Any], way: str, dsn: str, **options: Any) -> None:
        self.app, self.db, self.dsn = app, db, dsn
        self.before: Callable[[Job], object] = lambda _: None
        self.write, self.awrite = write, awrite
        self.attempts = 0
        kind, _, name = way.partition(" ")
        db.execute("create table if not exists public.effects (n int)")
        tell = self.tell = app.task(name="tell")(lambda: None)
        pay = self._sync(SYNC[name], tell) if kind == "sync" else self._async(ASYNC[name], tell)
        self.pay: Task[..., Any] = app.task(name="pay", retry=[0.0, 0.0], **options)(pay)

    def _sync(self, maker: Any, tell: Any) -> Any:
        def pay(job: Job) -> None:
            self.attempts += 1
            with maker(self.dsn) as using, job.transaction(using=using) as given:
                self.write(given)
                tell.using(given).enqueue()
                self.before(job)
                job.finish({"paid": job.attempt})

        return pay

    def _async(self, maker: Any, tell: Any) -> Any:
        async def pay(job: Job) -> None:
            self.attempts += 1
            async with maker(self.dsn) as using, job.atransaction(using=using) as given:
                await self.awrite(given)
                await tell.using(given).aenqueue()
                self.before(job)
                job.finish({"paid": job.attempt})

        return pay

    def work(self) -> None:
        Worker(self.app, WorkerSettings(queues={"default": None}, concurrency=2, drain=True, poll=0.05)).run()

    def found(self) -> tuple[int, int]:
        """Returns (number of rows that ``pay`` has written, number of jobs of ``tell``)."""
        [row] = self.db.execute(
            "select (select count(*) from public.effects), count(*) from pgqueue.jobs where task = 'tell'"
        ).fetchall()
        return row

    def job(self) -> tuple[Any, ...]:
        [row] = self.db.execute(
            "select state, attempt, result from pgqueue.jobs where task = 'pay'"
        ).fetchall()
        return row

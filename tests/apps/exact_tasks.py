"""Jobs of the exactly-once campaign. Each job takes steps and completes itself in a transaction, on one of ten kinds of connection.

A job writes a row of ``booked`` in a step with rows, a row of ``paged`` together with its place, and a row of ``chk.effects`` together with
its completion. It also enqueues a job of ``told`` in that last transaction. At the end, each of these must be there once for each job.

The handlers note what they learn: the values that their steps returned, that their last transaction was committed, or the error with which
it ended. The environment variable with the name in NOTES contains the path of the file with these notes.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import create_engine, text
from sqlalchemy.dialects.postgresql import asyncpg as _asyncpg  # noqa: F401 - see below
from sqlalchemy.dialects.postgresql import psycopg as _psycopg  # noqa: F401
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker
from tenacity import wait_fixed

from pgqueue import App, Job, RetryPolicy
from pgqueue.database.dsn import sqlalchemy_url
from pgqueue.errors import LeaseLostError
from pgqueue.worker.step_commits import FENCED
from tests.commit_proxy import MARK

PATH = "tests.apps.exact_tasks:app"
NOTES = "PGQUEUE_EXACT_NOTES"
NAME = "exact"  # the application_name of the connections of these handlers
ATTEMPTS = 1000
MARKS, PAGES = 2, 2
PATIENT = RetryPolicy(wait=wait_fixed(0.05), max_attempts=ATTEMPTS)
DSN = make_conninfo(os.environ.get("PGQUEUE_DSN", ""), application_name=NAME)
SCHEMA = """
create table public.booked (op bigint, job_id bigint, lease_id bigint, xact xid8 default pg_current_xact_id());
create table public.paged (op bigint, page int, job_id bigint, lease_id bigint, xact xid8 default pg_current_xact_id());
"""

# SQLAlchemy would import its dialects in the handler that makes the first engine. A thread that has lost its lease can be interrupted there,
# and Python cannot import a package again after such an interruption. So the dialects are imported above.
app = App(name="exact")


def note(*what: object) -> None:
    file = os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, json.dumps(what).encode() + b"\n")
    finally:
        os.close(file)


# ---------------------------------------------------------------- the connections


def engine() -> Any:
    return create_engine(sqlalchemy_url(DSN), max_overflow=20)


def sessions() -> Any:
    return sessionmaker(engine())


async def aengine() -> Any:
    return create_async_engine(sqlalchemy_url(DSN))


async def asessions() -> Any:
    return async_sessionmaker(await aengine())


async def asyncpg_sessions() -> Any:
    url = URL.create("postgresql+asyncpg")
    return async_sessionmaker(create_async_engine(url, async_creator=lambda: asyncpg.connect(**on_asyncpg())))


def on_asyncpg() -> dict[str, Any]:
    parts = conninfo_to_dict(DSN)
    return {
        "host": parts["host"], "port": int(parts["port"] or 5432), "user": parts["user"], "database": parts["dbname"],
        "ssl": False, "server_settings": {"application_name": NAME},
    }  # fmt: skip


async def apool() -> Any:
    pool = AsyncConnectionPool(DSN, min_size=1, max_size=10, open=False)
    await pool.open()
    return pool


async def asyncpg_pool() -> Any:
    return await asyncpg.create_pool(min_size=1, max_size=10, **on_asyncpg())


async def nothing() -> None: ...


SYNC: dict[str, Callable[[], Any]] = {
    "psycopg": lambda: None,
    "pool": lambda: ConnectionPool(DSN, min_size=1, max_size=10, open=True),
    "Engine": engine,
    "Session": sessions,
}
ASYNC: dict[str, Callable[[], Any]] = {
    "async psycopg": nothing,
    "async pool": apool,
    "AsyncEngine": aengine,
    "AsyncSession": asessions,
    "AsyncSession on asyncpg": asyncpg_sessions,
    "asyncpg": asyncpg_pool,
}
_lock = threading.Lock()
_makers: dict[str, Any] = {}
_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Future[Any]]] = WeakKeyDictionary()


def maker(way: str) -> Any:
    """Returns what ``job.transaction(using=…)`` gets. It is made once in each process."""
    with _lock:
        if way not in _makers:
            _makers[way] = SYNC[way]()
        return _makers[way]


async def amaker(way: str) -> Any:
    """``maker`` for async handlers. It is made once for each event loop."""
    makers = _of_loops.setdefault(asyncio.get_running_loop(), {})
    known = makers.get(way)
    if known is None or (known.done() and (known.cancelled() or known.exception())):
        makers[way] = asyncio.ensure_future(ASYNC[way]())
    return await asyncio.shield(makers[way])


@contextmanager
def own_transaction(way: str, using: Any) -> Iterator[Any]:
    """Opens a transaction whose COMMIT the handler sends, or the user's library, as any program would do it."""
    if using is None:
        with app.connection() as connection:
            yield connection
    elif way == "pool":
        with using.connection() as connection:
            yield connection
    else:
        with using.begin() as given:
            yield given


@asynccontextmanager
async def aown_transaction(way: str, using: Any) -> AsyncIterator[Any]:
    if using is None:
        async with app.aconnection() as connection:
            yield connection
    elif way == "async pool":
        async with using.connection() as connection:
            yield connection
    elif way == "asyncpg":
        async with using.acquire() as connection, connection.transaction():
            yield connection
    else:
        async with using.begin() as given:
            yield given


def insert(table: str, **columns: int) -> str:
    """Returns the text of an insert that returns the mark of its transaction. All values are numbers, so each driver takes the same text."""
    names, values = ", ".join(columns), ", ".join(map(str, columns.values()))
    word = table.rpartition(".")[2]
    return f"insert into {table} ({names}) values ({values}) returning {MARK.format(word)}"


def effect(table: str, op: int, job: Job, **more: int) -> str:
    return insert(table, op=op, job_id=job.id, lease_id=job.lease_id, **more)


def write(given: Any, statement: str) -> None:
    given.execute(statement if isinstance(given, Connection) else text(statement))


async def awrite(given: Any, statement: str) -> None:
    if type(given).__module__.startswith("asyncpg"):
        await given.fetch(statement)
    else:
        await given.execute(statement if isinstance(given, AsyncConnection) else text(statement))


# ---------------------------------------------------------------- the tasks


def mark(op: int, n: int) -> str:
    """Has an effect outside of the database: a note. Returns another value each time, so that the value says which call was stored."""
    value = uuid.uuid4().hex
    note("mark", op, n, value)
    return value


@contextmanager
def noted(op: int, job: Job) -> Iterator[None]:
    """Notes the error with which the handler of a job ends, and whether the error says that the lease is lost."""
    try:
        yield
    except BaseException as error:
        parts = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
        lost = any(isinstance(one, LeaseLostError) or sqlstate(one) == FENCED for one in parts)
        note("refused", op, job.lease_id, type(error).__name__, lost)
        raise


def sqlstate(error: BaseException) -> str | None:
    """Returns the SQLSTATE of an error of any driver, also if SQLAlchemy has wrapped the error."""
    source = getattr(error, "orig", None) or error
    return getattr(source, "sqlstate", None) or getattr(source, "pgcode", None)


@app.task(name="told", retry=PATIENT)
async def told(by: int) -> None: ...


@app.task(name="exact", retry=PATIENT)
def exact(job: Job, op: int, way: str) -> None:
    def book(connection: Connection[Any]) -> int:
        connection.execute(effect("public.booked", op, job).encode())
        return job.lease_id

    with noted(op, job):
        using = maker(way)
        marks = [job.step(("mark", n), mark, op, n) for n in range(MARKS)]
        booked = job.step_transaction("book", book)
        for page in range((job.saved or 0) + 1, PAGES + 1):
            with own_transaction(way, using) as given:
                write(given, effect("public.paged", op, job, page=page))
                job.save(page, using=given)
        note("got", op, job.lease_id, [*marks, booked])
        with job.transaction(using=using) as given:
            write(given, effect("chk.effects", op, job))
            told.using(given, queue=job.queue).enqueue(by=op)
            job.finish([*marks, booked])
    note("done", op, job.lease_id)


@app.task(name="aexact", retry=PATIENT)
async def aexact(job: Job, op: int, way: str) -> None:
    async def book(connection: AsyncConnection[Any]) -> int:
        await connection.execute(effect("public.booked", op, job).encode())
        return job.lease_id

    with noted(op, job):
        using = await amaker(way)
        async with asyncio.TaskGroup() as group:
            steps = [group.create_task(job.astep(("mark", n), mark, op, n)) for n in range(MARKS)]
        marks = [step.result() for step in steps]
        booked = await job.astep_transaction("book", book)
        for page in range((await job.asaved() or 0) + 1, PAGES + 1):
            async with aown_transaction(way, using) as given:
                await awrite(given, effect("public.paged", op, job, page=page))
                await job.asave(page, using=given)
        note("got", op, job.lease_id, [*marks, booked])
        async with job.atransaction(using=using) as given:
            await awrite(given, effect("chk.effects", op, job))
            await told.using(given, queue=job.queue).aenqueue(by=op)
            job.finish([*marks, booked])
    note("done", op, job.lease_id)

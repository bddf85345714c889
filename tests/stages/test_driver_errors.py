"""Errors of the database reach the caller as errors of pgqueue, whichever driver the caller's connection has."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
import psycopg
import pytest
from psycopg import Connection
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from pgqueue import App
from pgqueue.database.driver_errors import explained
from pgqueue.errors import BatchClosedError, LeaseLostError, TakenIdError
from pgqueue.worker.attempt import Keeper
from pgqueue.worker.attempt_lease import AttemptLease
from pgqueue.worker.ending import Ending
from pgqueue.worker.step_commits import asave, save
from tests.batches import store
from tests.factories import add_jobs
from tests.stages.own_connections import ASYNC, SYNC, place, url_of
from tests.stages.test_joining import WAYS as JOINED
from tests.worker_by_hand import Hand


@asynccontextmanager
async def of_asyncpg(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(ssl=False, **place(dsn))
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


WAYS: dict[str, Callable[[str], Any]] = {
    **{name: way for name, way in JOINED.items() if not name.startswith("asyncpg")},
    "asyncpg": of_asyncpg,
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("call", ["add", "seal"])
def test_a_closed_batch_refuses_jobs_with_the_same_error_on_every_kind_of_connection(
    app: App, dsn: str, db: Connection[Any], way: str, call: str
) -> None:
    @app.task(name="t")
    def t() -> None: ...

    handle = app.batch_handle(store(db, 0))  # an empty batch, which is sealed and has ended

    async def act() -> None:
        async with WAYS[way](dsn) as connection:
            is_async = way == "asyncpg" or inspect.iscoroutinefunction(connection.commit)
            method = getattr(handle, f"a{call}" if is_async else call)
            asked = method([t.job()], using=connection) if call == "add" else method(connection)
            if is_async:
                await asked

    with pytest.raises(BatchClosedError, match="The batch takes no more jobs"):
        asyncio.run(act())


@asynccontextmanager
async def psycopg_alone(dsn: str) -> AsyncIterator[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def async_psycopg_alone(dsn: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def asyncpg_alone(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(ssl=False, **place(dsn))
    yield connection
    await connection.close()


@asynccontextmanager
async def sqlalchemy_alone(dsn: str) -> AsyncIterator[Any]:
    engine = create_engine(url_of(dsn, "psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@asynccontextmanager
async def sqlalchemy_on_asyncpg_alone(dsn: str) -> AsyncIterator[Any]:
    engine = create_async_engine(
        url_of(dsn, "asyncpg"), isolation_level="AUTOCOMMIT", connect_args={"ssl": False}
    )
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


ALONE: list[Callable[[str], Any]] = [
    psycopg_alone, async_psycopg_alone, asyncpg_alone, sqlalchemy_alone, sqlalchemy_on_asyncpg_alone,
]  # fmt: skip


@pytest.mark.parametrize("way", ALONE)
def test_a_place_that_is_saved_under_a_lost_lease_ends_the_attempt_as_lost_on_every_kind_of_connection(
    app: App, dsn: str, db: Connection[Any], hand: Hand, way: Callable[[str], Any]
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    db.execute("update pgqueue.jobs_live set lease_id = lease_id + 2")

    async def act() -> None:
        async with way(dsn) as connection:
            try:
                if way in (psycopg_alone, sqlalchemy_alone):
                    save(app, attempt, 1, connection)
                else:
                    await asave(app, attempt, 1, connection)
            except LeaseLostError as error:
                found.append(error)

    found: list[LeaseLostError] = []
    asyncio.run(act())
    assert len(found) == 1
    assert attempt.ending is Ending.LOST


@pytest.mark.parametrize(
    "way", ["a pool", "an engine", "a pool of asyncpg", "an async_sessionmaker on asyncpg"]
)
def test_a_transaction_that_has_saved_a_place_learns_of_a_lost_lease_on_every_kind_of_connection(
    app: App, dsn: str, db: Connection[Any], hand: Hand, way: str
) -> None:
    app.task(name="t")(lambda: None)
    add_jobs(db)
    [attempt] = hand.claim()
    attempt.keeper = cast("Keeper", object())
    lease = AttemptLease(attempt, app)
    lose = "update pgqueue.jobs_live set lease_id = lease_id + 2"

    async def complete() -> None:
        if way in SYNC:
            with SYNC[way](dsn) as using, lease.transaction(None, using) as given:
                lease.save(1, given)
                db.execute(lose)
        else:
            async with ASYNC[way](dsn) as using, lease.atransaction(None, using) as given:
                await lease.asave(1, given)
                db.execute(lose)

    with pytest.raises(LeaseLostError):
        asyncio.run(complete())
    assert attempt.ending is Ending.LOST


def test_a_taken_id_is_explained_on_asyncpg(dsn: str, db: Connection[Any]) -> None:
    [job_id] = add_jobs(db)

    async def act() -> None:
        async with of_asyncpg(dsn) as connection:
            with pytest.raises(TakenIdError, match=rf"Key \(id\)=\({job_id}\) already exists"), explained():
                await connection.execute(
                    f"insert into pgqueue.jobs_live (id, task, state) values ({job_id}, 't', 'pending')"
                )

    asyncio.run(act())


def test_an_error_of_asyncpg_that_can_pass_or_that_pgqueue_does_not_know_stays_as_it_is(dsn: str) -> None:
    async def act() -> None:
        for statement, kind in (
            ("do $$ begin raise exception using errcode = '55P03'; end $$", asyncpg.LockNotAvailableError),
            ("select 1 / 0", asyncpg.DivisionByZeroError),
        ):
            async with of_asyncpg(dsn) as connection:
                with pytest.raises(kind), explained():
                    await connection.execute(statement)

    asyncio.run(act())


def test_pgqueue_imports_no_driver_but_its_own() -> None:
    said = (
        "import sys, pgqueue.worker.worker, pgqueue.database.driver_errors as d; d.answer_of(ValueError());"
        " print([name for name in ('asyncpg', 'django') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

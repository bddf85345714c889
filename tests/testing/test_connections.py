"""The test's own connection can be of any driver, and code on any thread or event loop joins its transaction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg import AsyncConnection, Connection
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from pgqueue import App, Job
from pgqueue.errors import WrongConnectionError
from pgqueue.integrations.testing import QueueInTest, joined_queue

Seen = list[object]


def declare(app: App, seen: Seen) -> None:
    @app.task(name="sync")
    def sync(job: Job) -> None:
        with job.transaction() as conn:
            [(there,)] = conn.execute("select count(*) from mine").fetchall()
            seen.append(there)

    @app.task(name="plain")
    async def plain(n: int) -> int:
        if n:
            await app.tasks["plain"].aenqueue(n - 1)
        return n


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_session_of_sqlalchemy(run_dsn: str, app: App, seen: Seen, driver: str) -> None:
    declare(app, seen)
    engine = create_engine(run_dsn.replace("postgresql://", f"postgresql+{driver}://"), poolclass=NullPool)
    with Session(engine) as session, joined_queue(app, session) as queue:
        session.execute(text("create temp table mine (id int)"))
        session.execute(text("insert into mine values (1)"))
        if driver == "psycopg":
            app.tasks["sync"].enqueue()
            app.tasks["plain"].enqueue(1)
            assert queue.drain().assert_no_failures().counts == {"completed": 3}
            assert seen == [1]
        app.tasks["plain"].enqueue(0)
        assert queue.drain().counts == {"completed": 1}
        session.rollback()
        assert queue.all_enqueued(state="completed") == []


def test_a_sessionmaker_of_a_handler_joins_the_test(run_dsn: str, app: App, seen: Seen) -> None:
    engine = create_engine(run_dsn.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    maker = sessionmaker(engine)

    @app.task(name="pay")
    def pay(job: Job) -> None:
        with job.transaction(result="paid", using=maker) as session:
            session.execute(text("insert into mine values (2)"))

    with engine.connect() as connection, connection.begin() as whole, joined_queue(app, connection) as queue:
        connection.execute(text("create temp table mine (id int)"))
        handle = pay.enqueue()
        queue.drain().assert_no_failures()
        assert handle.job().result == "paid"
        assert connection.execute(text("select count(*) from mine")).scalar() == 1
        assert whole.is_active
        whole.rollback()


@asynccontextmanager
async def of_psycopg(dsn: str) -> AsyncIterator[AsyncConnection]:
    async with await AsyncConnection.connect(dsn) as connection:
        yield connection
        await connection.rollback()


@asynccontextmanager
async def of_asyncpg(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    whole = connection.transaction()
    await whole.start()
    try:
        yield connection
    finally:
        await whole.rollback()
        await connection.close()


def of_sqlalchemy(driver: str) -> Callable[[str], Any]:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[AsyncSession]:
        engine = create_async_engine(
            dsn.replace("postgresql://", f"postgresql+{driver}://"), poolclass=NullPool
        )
        async with AsyncSession(engine) as session:
            yield session
            await session.rollback()
        await engine.dispose()

    return opened


ASYNC = {
    "psycopg": of_psycopg,
    "asyncpg": of_asyncpg,
    "sqlalchemy psycopg": of_sqlalchemy("psycopg_async"),
    "sqlalchemy asyncpg": of_sqlalchemy("asyncpg"),
}


@pytest.mark.parametrize("kind", ASYNC)
def test_an_async_connection(run_dsn: str, app: App, seen: Seen, kind: str) -> None:
    declare(app, seen)

    @app.task(name="effect")
    async def effect(job: Job) -> str:
        return await job.astep("one", asyncio.sleep, 0, "done")

    async def scenario() -> None:
        async with ASYNC[kind](run_dsn) as connection:
            with joined_queue(app, connection) as queue:
                handle = await app.tasks["plain"].aenqueue(1)
                last = await effect.aenqueue()
                assert (await queue.aassert_enqueued("plain", args={"n": 1})).id == handle.id
                drained = (await queue.adrain()).assert_no_failures()
                assert drained.counts == {"completed": 3}
                assert await last.aresult() == "done"
                await app.tasks["plain"].using(delay="1h").aenqueue(0)
                assert not await queue.adrain()
                await queue.atravel("1h")
                assert len(await queue.adrain()) == 1
                await queue.arefute_enqueued("plain")

    asyncio.run(scenario())


def test_a_sync_handler_joins_an_async_connection_of_psycopg(run_dsn: str, app: App, seen: Seen) -> None:
    declare(app, seen)

    async def scenario() -> None:
        async with of_psycopg(run_dsn) as connection:
            await connection.execute("create temp table mine (id int)")
            with joined_queue(app, connection) as queue:
                await app.tasks["sync"].aenqueue()
                (await queue.adrain()).assert_no_failures()
                with pytest.raises(WrongConnectionError, match=r"await pgqueue\.adrain"):
                    queue.drain()

    asyncio.run(scenario())
    assert seen == [0]


def test_code_on_other_threads_and_loops_joins_a_sync_connection(
    app: App, queue: QueueInTest, seen: Seen
) -> None:
    declare(app, seen)

    def many() -> None:
        for _ in range(10):
            app.tasks["plain"].enqueue(0)

    async def amany() -> None:
        await asyncio.gather(*(app.tasks["plain"].aenqueue(0) for _ in range(10)))

    threads = [threading.Thread(target=many) for _ in range(3)] + [
        threading.Thread(target=asyncio.run, args=[amany()])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(queue.all_enqueued("plain")) == 40


def test_a_sync_drain_in_an_async_test(app: App, queue: QueueInTest, seen: Seen) -> None:
    declare(app, seen)

    async def scenario() -> None:
        await app.tasks["plain"].aenqueue(1)
        assert len(queue.drain()) == 2
        await app.tasks["plain"].aenqueue(0)
        assert len(await queue.adrain()) == 1

    asyncio.run(scenario())


def test_a_connection_that_commits_each_statement_is_refused(run_dsn: str, app: App, seen: Seen) -> None:
    declare(app, seen)
    with psycopg.connect(run_dsn, autocommit=True) as connection, joined_queue(app, connection) as queue:
        with pytest.raises(WrongConnectionError, match="not in a transaction"):
            app.tasks["plain"].enqueue(0)
        with connection.transaction(force_rollback=True):
            app.tasks["plain"].enqueue(0)
            assert queue.drain()
    with pytest.raises(WrongConnectionError, match="is no connection"), joined_queue(app, object()):
        pass


def test_two_queues_of_one_app_are_refused(app: App, queue: QueueInTest, conn: Connection) -> None:
    with (
        pytest.raises(WrongConnectionError, match="part of a test's transaction already"),
        joined_queue(app, conn),
    ):
        pass
    assert queue.all_enqueued() == []

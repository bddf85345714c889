"""An enqueue joins the caller's transaction, on each kind of connection.

The caller stores an order in the same transaction, so the order and its job are committed or rolled back together.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg import Connection
from sqlalchemy import URL, create_engine, text
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from pgqueue import App, JobHandle, Task
from pgqueue.database.dsn import sqlalchemy_url
from pgqueue.errors import IdempotencyConflictError, SchemaMissingError, WrongConnectionError

Scenario = Callable[["Joined"], Coroutine[Any, Any, None]]


@dataclass
class Joined:
    """Gives connections of all kinds the same interface."""

    connection: Any
    transaction: Any = None  # of asyncpg, whose connection has neither commit nor rollback

    @property
    def ends(self) -> Any:
        return self.transaction or self.connection

    @property
    def asynchronous(self) -> bool:
        return self.transaction is not None or inspect.iscoroutinefunction(self.connection.commit)

    async def order(self, number: int) -> None:
        """Stores an order. In these tests, this is the caller's own write."""
        statement = f"insert into orders values ({number})"
        is_driver = type(self.connection).__module__.startswith(("psycopg", "asyncpg"))
        await result_of(self.connection.execute(statement if is_driver else text(statement)))

    async def enqueue(self, task: Task[..., Any], *args: Any, **options: Any) -> JobHandle:
        chosen = task.using(self.connection, **options)
        return await result_of((chosen.aenqueue if self.asynchronous else chosen.enqueue)(*args))

    async def enqueue_many(self, task: Task[..., Any], items: list[Any]) -> list[JobHandle]:
        chosen = task.using(self.connection)
        return await result_of((chosen.aenqueue_many if self.asynchronous else chosen.enqueue_many)(items))

    async def commit(self) -> None:
        await result_of(self.ends.commit())

    async def rollback(self) -> None:
        await result_of(self.ends.rollback())

    def savepoint(self) -> Any:
        """Returns a context manager. If an exception leaves it, the transaction rolls back to the savepoint."""
        begin = getattr(self.connection, "begin_nested", None) or self.connection.transaction
        return entered(begin())


async def result_of(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    if hasattr(manager, "__aenter__"):
        async with manager as inner:
            yield inner
    else:
        with manager as inner:
            yield inner


@asynccontextmanager
async def psycopg_sync(dsn: str) -> AsyncIterator[Any]:
    with psycopg.connect(dsn) as connection:
        yield connection


@asynccontextmanager
async def psycopg_async(dsn: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        yield connection


@asynccontextmanager
async def asyncpg_own(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def asyncpg_of_a_pool(dsn: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        yield connection


def sqlalchemy_sync(make: Callable[[Any], Any], driver: str = "psycopg") -> Callable[[str], Any]:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Any]:
        engine = create_engine(url_for(dsn, driver))
        try:
            with make(engine) as connection:
                yield connection
        finally:
            engine.dispose()

    return opened


@asynccontextmanager
async def scoped(dsn: str) -> AsyncIterator[Any]:
    """Yields a scoped_session, which web frameworks use: it has one session for each thread."""
    engine = create_engine(sqlalchemy_url(dsn))
    sessions = scoped_session(sessionmaker(engine))
    try:
        yield sessions
    finally:
        sessions.remove()
        engine.dispose()


@asynccontextmanager
async def scoped_async(dsn: str) -> AsyncIterator[Any]:
    engine = create_async_engine(sqlalchemy_url(dsn))
    sessions = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    try:
        yield sessions
    finally:
        await sessions.remove()
        await engine.dispose()


def url_for(dsn: str, driver: str) -> URL:
    url = sqlalchemy_url(dsn).set(drivername=f"postgresql+{driver}")
    query = dict(url.query)
    if driver in ("asyncpg", "pg8000"):  # they have another name for libpq's dbname
        url = url.set(database=query.pop("dbname"), query=query)
    if driver == "pg8000":  # and pg8000 has other names for the address
        host, port = query.pop("host"), query.pop("port", "5432")
        place = {"unix_sock": f"{host}/.s.PGSQL.{port}"} if str(host).startswith("/") else {}
        url = url.set(query=query | place) if place else url.set(host=host, port=int(str(port)), query=query)
    return url


def sqlalchemy_async(make: Callable[[Any], Any], driver: str) -> Callable[[str], Any]:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[Any]:
        engine = create_async_engine(url_for(dsn, driver))
        try:
            async with make(engine) as connection:
                yield connection
        finally:
            await engine.dispose()

    return opened


WAYS: dict[str, Callable[[str], Any]] = {
    "psycopg Connection": psycopg_sync,
    "psycopg AsyncConnection": psycopg_async,
    "asyncpg Connection": asyncpg_own,
    "asyncpg connection of a pool": asyncpg_of_a_pool,
    "SQLAlchemy Connection": sqlalchemy_sync(lambda engine: engine.connect()),
    "SQLAlchemy Connection on psycopg2": sqlalchemy_sync(lambda engine: engine.connect(), "psycopg2"),
    "SQLAlchemy Connection on pg8000": sqlalchemy_sync(lambda engine: engine.connect(), "pg8000"),
    "SQLAlchemy Session": sqlalchemy_sync(Session),
    "SQLAlchemy Session on psycopg2": sqlalchemy_sync(Session, "psycopg2"),
    "SQLAlchemy Session on pg8000": sqlalchemy_sync(Session, "pg8000"),
    "SQLAlchemy scoped_session": scoped,
    "SQLAlchemy async_scoped_session": scoped_async,
    "SQLAlchemy AsyncConnection on psycopg": sqlalchemy_async(lambda engine: engine.connect(), "psycopg"),
    "SQLAlchemy AsyncConnection on asyncpg": sqlalchemy_async(lambda engine: engine.connect(), "asyncpg"),
    "SQLAlchemy AsyncSession on psycopg": sqlalchemy_async(AsyncSession, "psycopg"),
    "SQLAlchemy AsyncSession on asyncpg": sqlalchemy_async(AsyncSession, "asyncpg"),
}


async def begun(connection: Any) -> Joined:
    if not type(connection).__module__.startswith("asyncpg"):
        return Joined(connection)
    transaction = connection.transaction()
    await transaction.start()
    return Joined(connection, transaction)


@pytest.fixture(params=list(WAYS))
def joining(request: pytest.FixtureRequest, dsn: str, db: Connection[Any]) -> Callable[[Scenario], None]:
    """Returns a function that plays a scenario on a connection of one kind. The database also has a table of orders."""
    db.execute("create table orders (id int primary key)")

    def play(scenario: Scenario) -> None:
        async def played() -> None:
            async with WAYS[request.param](dsn) as connection:
                await scenario(await begun(connection))

        asyncio.run(played())

    return play


@pytest.fixture
def ship(app: App) -> Iterator[Task[..., Any]]:
    @app.task(name="ship")
    def ship(order: int) -> None: ...

    return ship


@pytest.mark.parametrize("way", WAYS)
def test_the_error_of_an_enqueue_in_a_database_without_tables_says_how_to_make_the_tables(
    app, empty_dsn, ship, way
):
    async def scenario() -> None:
        async with WAYS[way](empty_dsn) as connection:
            with pytest.raises(SchemaMissingError, match="do: pgq migrate"):
                await (await begun(connection)).enqueue(ship, 1)

    asyncio.run(scenario())


def stored(db: Connection[Any]) -> tuple[list[int], list[int]]:
    """Returns the ids of the stored orders, and the ids of the orders that have a job."""
    orders = db.execute("select id from orders order by 1").fetchall()
    jobs = db.execute("select (args ->> 'order')::int from pgqueue.jobs order by 1").fetchall()
    return [row[0] for row in orders], [row[0] for row in jobs]


def test_a_commit_keeps_the_order_and_its_job(joining, ship, db):
    async def scenario(joined: Joined) -> None:
        await joined.order(1)
        handle = await joined.enqueue(ship, 1)
        assert handle.created
        assert stored(db) == ([], []), "nothing is visible before the commit"
        await joined.commit()

    joining(scenario)
    assert stored(db) == ([1], [1])


def test_a_commit_keeps_the_job_of_a_transaction_that_does_nothing_else(joining, ship, db):
    async def scenario(joined: Joined) -> None:
        await joined.enqueue(ship, 1)
        await joined.commit()

    joining(scenario)
    assert stored(db) == ([], [1])


def test_a_rollback_removes_the_order_and_its_job(joining, ship, db):
    async def scenario(joined: Joined) -> None:
        await joined.order(1)
        await joined.enqueue(ship, 1)
        await joined.rollback()

    joining(scenario)
    assert stored(db) == ([], [])


def test_a_rollback_to_a_savepoint_removes_later_jobs_and_frees_their_keys(joining, ship, db):
    async def scenario(joined: Joined) -> None:
        await joined.order(1)
        await joined.enqueue(ship, 1)
        with suppress(ZeroDivisionError):
            async with joined.savepoint():
                await joined.order(2)
                await joined.enqueue(ship, 2, unique_key="two", idempotency_key="two")
                raise ZeroDivisionError
        await joined.order(3)
        again = await joined.enqueue(ship, 3, unique_key="two", idempotency_key="two")
        assert again.created
        await joined.commit()

    joining(scenario)
    assert stored(db) == ([1, 3], [1, 3])


@pytest.mark.parametrize("key", ["unique_key", "idempotency_key"])
def test_an_enqueue_of_a_duplicate_returns_the_job_and_does_not_abort_the_transaction(joining, ship, db, key):
    first = ship.using(**{key: "k"}).enqueue(1)

    async def scenario(joined: Joined) -> None:
        await joined.order(1)
        second = await joined.enqueue(ship, 1, **{key: "k"})
        assert (second.created, second.id, second.state, second.conflict) == (False, first.id, "pending", key)
        await joined.order(2)
        await joined.commit()

    joining(scenario)
    assert stored(db) == ([1, 2], [1])


def test_a_refused_idempotency_key_does_not_abort_the_transaction(joining, ship, db):
    first = ship.using(idempotency_key="k").enqueue(1)

    async def scenario(joined: Joined) -> None:
        await joined.order(1)
        batch = [ship.using(idempotency_key="a").job(2), ship.using(idempotency_key="k").job(3)]
        with pytest.raises(IdempotencyConflictError, match=f"belongs to job {first.id}") as caught:
            await joined.enqueue_many(ship, batch)
        assert caught.value.job_id == first.id
        assert (await joined.enqueue(ship, 4, idempotency_key="a")).created, (
            "the refused batch has stored no key"
        )
        await joined.commit()

    joining(scenario)
    assert stored(db) == ([1], [1, 4])


def test_a_batch_is_stored_in_order_and_each_duplicate_is_reported(joining, ship, db):
    first = ship.using(unique_key="k").enqueue(1)

    async def scenario(joined: Joined) -> None:
        await joined.order(1)
        handles = await joined.enqueue_many(
            ship,
            [
                {"order": 2},
                ship.using(unique_key="k").job(3),
                ship.using(unique_key="new").job(4),
                ship.using(unique_key="new").job(5),
            ],
        )
        assert [handle.created for handle in handles] == [True, False, True, False]
        assert (handles[1].id, handles[3].id) == (first.id, handles[2].id)
        assert await joined.enqueue_many(ship, []) == []
        await joined.commit()

    joining(scenario)
    assert stored(db) == ([1], [1, 2, 4])


def test_many_jobs_are_stored_in_order(joining, ship, db):
    async def scenario(joined: Joined) -> None:
        await joined.order(1)
        handles = await joined.enqueue_many(ship, [{"order": number} for number in range(300)])
        assert [handle.id for handle in handles] == sorted({handle.id for handle in handles})
        await joined.commit()

    joining(scenario)
    assert stored(db) == ([1], list(range(300)))


def test_a_sync_enqueue_on_an_async_connection_and_the_reverse_are_refused(joining, ship, db):
    async def scenario(joined: Joined) -> None:
        chosen = ship.using(joined.connection)
        with pytest.raises(WrongConnectionError, match="PGQ-505"):
            await result_of((chosen.enqueue if joined.asynchronous else chosen.aenqueue)(1))
        await joined.commit()

    joining(scenario)
    assert stored(db) == ([], [])

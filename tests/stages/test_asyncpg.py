"""Enqueues on a connection of asyncpg that is the caller's own: settings of the caller, COPY, and commits whose answer is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from psycopg import Connection

from pgqueue import App, Task
from pgqueue.errors import AutocommitWarning, CommitUnconfirmedError, ReadOnlyServerError
from tests.proxy import Proxy, proxy_to
from tests.stages.own_connections import place
from tests.stages.test_bulk import stored
from tests.waiting import wait_until

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
OPTIONS = {
    "queue": "mail",
    "tags": ["a,b", "¥ 😀"],
    "meta": {"k": "\\N"},
    "timeout": 1.5,
    "concurrency_key": "c",
}


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with proxy_to(dsn) as proxy:
        yield proxy


@pytest.fixture
def ship(app: App) -> Task[..., Any]:
    @app.task(name="ship")
    def ship(order: int, note: str = "") -> None: ...

    return ship


@asynccontextmanager
async def opened(dsn: str, **settings: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(**place(dsn), ssl=False, **settings)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def count(db: Connection[Any]) -> int:
    [(found,)] = db.execute("select count(*) from pgqueue.jobs").fetchall()
    return int(found)


def test_one_job_and_many_jobs_are_stored_as_on_psycopg(ship, dsn, db):
    """One job goes by an insert, 3 by the SQL API, and 150 by COPY."""
    item = {"order": 7, "note": 'é "\\N" \t ¥'}
    with db.transaction():
        expected = stored(db, ship.using(db, **OPTIONS).enqueue(**item).id)[:-1]
    ids: list[int] = []

    async def scenario() -> None:
        async with opened(dsn) as connection:
            for number in (1, 3, 150):
                async with connection.transaction():
                    handles = await ship.using(connection, **OPTIONS).aenqueue_many([item] * number)
                    ids.append(handles[-1].id)

    play(scenario)
    assert count(db) == 1 + 1 + 3 + 150
    assert [stored(db, job_id)[:-1] for job_id in ids] == [expected] * 3


def test_many_jobs_go_by_copy(ship, dsn, db):
    sent: list[str] = []

    async def scenario() -> None:
        async with opened(dsn) as connection, connection.transaction():
            with connection.query_logger(lambda query: sent.append(query.query)):
                await ship.using(connection).aenqueue_many([{"order": 1}] * 150)

    play(scenario)
    assert not any("enqueue_many" in query for query in sent)
    assert count(db) == 150


class Loud(asyncpg.Record):
    """A class of records whose values have names only."""

    def __getattr__(self, name: str) -> object:
        return self[name]


@pytest.mark.parametrize("settings", [{}, {"statement_cache_size": 0}, {"record_class": Loud}], ids=str)
def test_no_setting_of_the_callers_connection_changes_what_is_stored(ship, dsn, db, settings):
    async def scenario() -> None:
        async with opened(dsn, **settings) as connection:
            for name in ("json", "jsonb"):
                await connection.set_type_codec(
                    name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
                )
            await connection.set_type_codec(
                "timestamptz", encoder=str, decoder=datetime.fromisoformat, schema="pg_catalog"
            )
            await connection.set_type_codec(
                "int8", encoder=str, decoder=int, schema="pg_catalog", format="text"
            )
            async with connection.transaction():
                for number in (1, 3, 150):
                    chosen = ship.using(connection, run_at=NOON, meta={"n": number})
                    handles = await chosen.aenqueue_many([{"order": n} for n in range(number)])
                    assert all(isinstance(handle.id, int) for handle in handles)

    play(scenario)
    rows = db.execute("select distinct run_at, (meta ->> 'n')::int from pgqueue.jobs order by 2").fetchall()
    assert rows == [(NOON, 1), (NOON, 3), (NOON, 150)]


@pytest.mark.parametrize("many", [1, 3, 150])
def test_an_enqueue_outside_a_transaction_warns_and_reports_a_lost_answer(ship, proxy, db, many):
    async def scenario() -> None:
        async with opened(proxy.dsn) as connection:
            with pytest.warns(AutocommitWarning):
                await ship.using(connection).aenqueue_many(
                    [{"order": 0}] * many
                )  # its statements are prepared
            proxy.cut_at = b"B"  # the next message, which binds the values
            with pytest.warns(AutocommitWarning), pytest.raises(CommitUnconfirmedError):
                await ship.using(connection).aenqueue_many([{"order": 1}] * many)

    play(scenario)


def test_a_time_limit_of_the_connection_leaves_open_whether_the_job_was_stored(ship, dsn, db, connect):
    blocker = connect(autocommit=False)

    async def scenario() -> None:
        async with opened(dsn, command_timeout=0.5) as connection:
            with pytest.warns(AutocommitWarning):
                await ship.using(connection).aenqueue(1)
            blocker.execute("lock table pgqueue.jobs_live in exclusive mode")
            with pytest.warns(AutocommitWarning), pytest.raises(CommitUnconfirmedError):
                await ship.using(connection).aenqueue(2)
            blocker.rollback()
            async with connection.transaction():
                await ship.using(connection).aenqueue(3)

    play(scenario)
    assert {("1",), ("3",)} <= set(db.execute("select args ->> 'order' from pgqueue.jobs").fetchall())


def test_an_enqueue_that_is_cancelled_leaves_the_connection_usable(ship, dsn, db, connect):
    blocker = connect(autocommit=False)
    waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%jobs_live%'"

    async def scenario() -> None:
        async with opened(dsn) as connection:
            transaction = connection.transaction()
            await transaction.start()
            blocker.execute("lock table pgqueue.jobs_live in exclusive mode")
            enqueue = asyncio.ensure_future(ship.using(connection).aenqueue(1))
            await asyncio.to_thread(wait_until, lambda: db.execute(waiting).fetchone())
            enqueue.cancel()
            with pytest.raises(asyncio.CancelledError):
                await enqueue
            blocker.rollback()
            await transaction.rollback()
            async with connection.transaction():
                await ship.using(connection).aenqueue(2)

    play(scenario)
    assert db.execute("select args ->> 'order' from pgqueue.jobs").fetchall() == [("2",)]


def test_an_error_of_the_server_is_explained(ship, dsn):
    async def scenario() -> None:
        async with opened(dsn) as connection, connection.transaction(readonly=True):
            with pytest.raises(ReadOnlyServerError, match="PGQ-"):
                await ship.using(connection).aenqueue(1)

    play(scenario)

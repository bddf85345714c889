"""Enqueues whose commit gets no answer, and the idempotency keys that make it safe to try a second time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, Connection
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from pgqueue import App, Task
from pgqueue.database import in_doubt, statements
from pgqueue.database.dsn import sqlalchemy_url
from pgqueue.database.run import run
from pgqueue.errors import (
    AutocommitWarning,
    CommitUnconfirmedError,
    IdempotencyConflictError,
    InvalidOptionError,
)
from tests.proxy import Proxy, proxy_to


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with proxy_to(dsn) as proxy:
        yield proxy


@pytest.fixture
def ship(proxy: Proxy) -> Iterator[Task[..., Any]]:
    app = App(proxy.dsn)

    @app.task(name="ship")
    def ship(order: int) -> None: ...

    ship.enqueue(0)  # now the app's pool has a connection
    yield ship
    app.close()


def stored(db: Connection[Any]) -> list[int]:
    return [
        job_id
        for (job_id,) in db.execute("select id from pgqueue.jobs where args <> '{\"order\": 0}' order by 1")
    ]


def test_enqueue_many_returns_its_handles_if_its_commit_got_no_answer_but_was_made(proxy, ship, db):
    proxy.cut_at = b"COMMIT"
    handles = ship.enqueue_many([{"order": 1}] * 150)
    assert [handle.id for handle in handles] == stored(db)
    assert len(handles) == 150


def test_enqueue_many_raises_the_error_of_the_connection_if_its_commit_was_not_made(proxy, ship, db):
    proxy.cut_at, proxy.delivers = b"COMMIT", False
    with pytest.raises(psycopg.OperationalError):
        ship.enqueue_many([{"order": 1}] * 150)
    assert stored(db) == []


def test_enqueue_many_raises_an_error_with_the_ids_if_the_database_cannot_be_asked_about_its_commit(
    proxy, ship, db, monkeypatch
):
    monkeypatch.setattr(in_doubt, "PATIENCE", 0.0)
    proxy.cut_at = b"COMMIT"
    with pytest.raises(CommitUnconfirmedError, match=r"PGQ-511.*idempotency_key") as caught:
        ship.enqueue_many([{"order": 1}] * 150)
    assert caught.value.job_ids == stored(db)
    assert len(stored(db)) == 150
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)


def test_find_copied_returns_whether_the_transaction_that_copied_the_jobs_was_committed(
    dsn, ship, db, connect
):
    """It returns None as long as the transaction runs. It knows the answer even if the jobs have ended and left no rows."""
    other = connect(autocommit=False)
    made = run(other, statements.reserve_ids(3))
    other.execute("insert into pgqueue.jobs (id, task) values (%s, 'ship')", [made.ids[0]])
    question = statements.find_copied(made)
    assert run(db, question) is None
    other.commit()
    assert run(db, question) is True
    db.execute("delete from pgqueue.jobs")
    assert run(db, question) is True
    later = statements.find_copied(made._replace(moment=made.moment - timedelta(days=1)))
    assert run(db, later) is None, "the server was started after this transaction"
    undone = run(other, statements.reserve_ids(3))
    other.rollback()
    assert run(db, statements.find_copied(undone)) is False


@pytest.mark.parametrize(
    ("count", "options", "cut_at"),
    [
        (1, {}, b"insert into pgqueue.jobs_live"),
        (1, {"unique_key": "k"}, b"insert into pgqueue.jobs_live"),
        (1, {"idempotency_key": "k"}, b"enqueue_many"),
        (3, {}, b"enqueue_many"),
    ],
)
@pytest.mark.parametrize("delivers", [True, False])
def test_an_enqueue_in_one_statement_is_not_sent_again_if_its_answer_is_lost(
    proxy, ship, db, count, options, cut_at, delivers
):
    proxy.cut_at, proxy.delivers = cut_at, delivers
    with pytest.raises(CommitUnconfirmedError) as caught:
        ship.using(**options).enqueue_many([{"order": 1}] * count)
    assert caught.value.job_ids == [], "the ids were in the lost answer"
    assert len(stored(db)) == (count if delivers else 0)


def test_an_async_enqueue_whose_commit_gets_no_answer_raises_a_commit_unconfirmed_error(proxy, ship, db):
    async def scenario() -> None:
        await ship.aenqueue(0)
        proxy.cut_at = b"insert into pgqueue.jobs_live"
        with pytest.raises(CommitUnconfirmedError):
            await ship.aenqueue(1)
        assert len(stored(db)) == 1
        proxy.cut_at = b"COMMIT"
        handles = await ship.aenqueue_many([{"order": 1}] * 150)
        assert [handle.id for handle in handles] == stored(db)[1:]

    async def scenario_and_end() -> None:
        try:
            await scenario()
        finally:  # otherwise a failed test would wait for the pool, which connects again
            await ship._store.aclose()

    asyncio.run(scenario_and_end())


def test_no_job_is_stored_if_a_statement_before_the_commit_gets_no_answer(proxy, ship, db):
    proxy.cut_at = b"pgqueue.wake"
    with pytest.raises(psycopg.OperationalError):
        ship.enqueue_many([{"order": 1}] * 150)
    assert stored(db) == []


@pytest.mark.parametrize(
    ("count", "cut_at"), [(1, b"jobs_live"), (3, b"enqueue_many"), (150, b"pgqueue.wake")]
)
def test_an_enqueue_on_an_autocommit_connection_reports_a_lost_answer(proxy, ship, db, count, cut_at):
    with psycopg.connect(proxy.dsn, autocommit=True) as connection:
        proxy.cut_at = cut_at
        with pytest.warns(AutocommitWarning), pytest.raises(CommitUnconfirmedError):
            ship.using(connection).enqueue_many([{"order": 1}] * count)
    assert len(stored(db)) == count


def test_an_enqueue_on_an_async_autocommit_connection_reports_a_lost_answer(proxy, ship):
    async def scenario() -> None:
        async with await AsyncConnection.connect(proxy.dsn, autocommit=True) as connection:
            proxy.cut_at = b"insert into pgqueue.jobs_live"
            with pytest.warns(AutocommitWarning), pytest.raises(CommitUnconfirmedError):
                await ship.using(connection).aenqueue(1)

    asyncio.run(scenario())


def test_an_enqueue_whose_commit_the_server_refuses_raises_the_error_of_the_server(ship, db):
    db.execute(
        "create function public.no() returns trigger language plpgsql as $$ begin raise exception using errcode = '40001'; end $$"
    )
    db.execute(
        "create constraint trigger no after insert on pgqueue.jobs_live initially deferred for each row execute function public.no()"
    )
    with pytest.raises(psycopg.errors.SerializationFailure):
        ship.enqueue(1)


def test_a_second_try_with_the_same_keys_stores_each_job_once(proxy, ship, db):
    items, keys = [{"order": n} for n in range(1, 121)], [f"request {n}" for n in range(1, 121)]
    proxy.cut_at = b"enqueue_many"
    with pytest.raises(CommitUnconfirmedError):
        ship.enqueue_many(items, idempotency_keys=keys)
    again = ship.enqueue_many(items, idempotency_keys=keys)
    assert [handle.id for handle in again] == stored(db)
    assert {(handle.created, handle.conflict) for handle in again} == {(False, "idempotency_key")}


# ------------------------------------------------------------------ one key for each job of a batch


def test_idempotency_keys_of_a_batch_find_duplicates_among_stored_jobs_and_in_the_batch(app, db):
    @app.task(name="ship")
    def ship(order: int) -> None: ...

    first = ship.using(idempotency_key="a").enqueue(1)
    with psycopg.connect(app.dsn) as connection:
        handles = ship.using(connection, idempotency_ttl="1h").enqueue_many(
            [{"order": 1}, {"order": 2}, {"order": 2}], idempotency_keys=["a", "b", "b"]
        )
    assert [handle.created for handle in handles] == [False, True, False]
    assert (handles[0].id, handles[2].id) == (first.id, handles[1].id)
    both = ship.enqueue_many(
        [{"order": 3}, {"order": 4}], unique_keys=["u", "u"], idempotency_keys=["c", "d"]
    )
    assert [handle.conflict for handle in both] == [None, "unique_key"]
    lives = dict(
        db.execute(
            "select key, extract(epoch from expires_at - created_at)::int from pgqueue.idempotency_keys"
        ).fetchall()
    )
    assert lives == {"a": 604800, "b": 3600, "c": 604800, "d": 604800}, (
        "a key lasts seven days, unless the caller gives another time"
    )


def test_a_batch_is_refused_if_one_of_its_idempotency_keys_was_used_before_with_other_arguments(app, db):
    @app.task(name="ship")
    def ship(order: int) -> None: ...

    ship.enqueue_many([{"order": 1}], idempotency_keys=["a"])
    with pytest.raises(IdempotencyConflictError, match="idempotency key 'a' of task ship"):
        ship.enqueue_many([{"order": 2}, {"order": 3}], idempotency_keys=["b", "a"])
    assert db.execute("select count(*) from pgqueue.jobs_live").fetchone() == (1,)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_idempotency_keys_work_on_the_connections_of_sqlalchemy(app, dsn, driver):
    @app.task(name="ship")
    def ship(order: int) -> None: ...

    async def scenario() -> None:
        url = sqlalchemy_url(dsn).set(drivername=f"postgresql+{driver}")
        if driver == "asyncpg":
            query = dict(url.query)
            url = url.set(database=query.pop("dbname"), query=query)
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            for created in (True, False):
                [handle] = await ship.using(connection).aenqueue_many([{"order": 1}], idempotency_keys=["a"])
                assert handle.created is created
        await engine.dispose()

    asyncio.run(scenario())
    engine = create_engine(sqlalchemy_url(dsn))
    with engine.begin() as connection:
        assert not ship.using(connection).enqueue_many([{"order": 1}], idempotency_keys=["a"])[0].created
    engine.dispose()


def test_idempotency_keys_given_in_sql_find_duplicates(db):
    jobs = [
        {
            "task": "t",
            "each": [{"n": 1}, {"n": 2}, {"n": 1}],
            "idempotency_keys": ["a", "b", "a"],
            "idempotency_ttl": 60,
        }
    ]
    for states in ([True, True, False], [False, False, False]):
        rows = db.execute("select created from pgqueue.enqueue_many(%s)", [Jsonb(jobs)]).fetchall()
        assert [created for (created,) in rows] == states


@pytest.mark.parametrize(
    "bad",
    [
        {"each": [{}], "idempotency_keys": []},
        {"each": [{}], "idempotency_keys": ["a"], "idempotency_key": "b"},
        {"args": {}, "idempotency_keys": ["a"]},
        {"each": [{}], "idempotency_keys": ["a"], "throttle": 5, "unique": True},
    ],
)
def test_sql_refuses_a_list_of_idempotency_keys_that_does_not_fit_its_items_or_other_keys(db, bad):
    with pytest.raises(psycopg.Error, match="idempotency_key") as caught:
        db.execute("select pgqueue.enqueue_many(%s)", [Jsonb([{"task": "t", **bad}])])
    assert caught.value.sqlstate == "PQ404"


@pytest.mark.parametrize(
    ("items", "options", "given"),
    [
        ([{"order": 1}], {}, ["a", "b"]),
        ([{"order": 1}], {}, [""]),
        ([{"order": 1}], {"unique_key": "u", "throttle": 5}, ["a"]),
    ],
)
def test_bad_idempotency_keys_and_lists_of_the_wrong_length_are_refused(app, items, options, given):
    @app.task(name="ship")
    def ship(order: int) -> None: ...

    with pytest.raises(InvalidOptionError):
        ship.using(**options).enqueue_many(items, idempotency_keys=given)
    with pytest.raises(InvalidOptionError, match=r"a job made by .* takes none"):
        ship.enqueue_many([ship.job(1)], idempotency_keys=["a"])

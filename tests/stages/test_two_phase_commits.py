"""Enqueues in two-phase transactions, which are prepared first and committed later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, Connection, sql
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from pgqueue import group
from pgqueue.database.dsn import sqlalchemy_url
from pgqueue.errors import InvalidOptionError
from tests.stages.all_ways_to_enqueue import check, played, played_async


@pytest.fixture
def listening(connect: Callable[..., Connection[Any]]) -> Connection[Any]:
    connection = connect()
    connection.execute("listen pgqueue")
    return connection


def woken_queues(listening: Connection[Any]) -> list[str]:
    return [notify.payload for notify in listening.notifies(timeout=0.2)]


def finish(db: Connection[Any]) -> None:
    [(gid,)] = db.execute("select gid from pg_prepared_xacts where database = current_database()").fetchall()
    db.execute(sql.SQL("commit prepared {}").format(sql.Literal(gid)))


def test_jobs_of_a_two_phase_transaction_of_psycopg_are_stored_without_a_wake_up(
    note, done, dsn, db, listening
):
    with psycopg.connect(dsn) as connection:
        connection.tpc_begin(connection.xid(1, "pgqueue", "test"))
        played(note, done, connection)
        connection.tpc_prepare()
        connection.tpc_commit()
    check(db)
    assert woken_queues(listening) == []


def test_jobs_of_a_two_phase_transaction_of_an_async_connection_are_stored_without_a_wake_up(
    note, done, dsn, db, listening
):
    async def scenario() -> None:
        async with await AsyncConnection.connect(dsn) as connection:
            await connection.tpc_begin(connection.xid(1, "pgqueue", "test"))
            await played_async(note, done, connection)
            await connection.tpc_prepare()
            await connection.tpc_commit()

    asyncio.run(scenario())
    check(db)
    assert woken_queues(listening) == []


@pytest.mark.parametrize("way", ["connection", "session"])
def test_jobs_of_a_two_phase_transaction_of_sqlalchemy_are_stored_without_a_wake_up(
    note, done, dsn, db, listening, way
):
    engine = create_engine(sqlalchemy_url(dsn))
    if way == "connection":
        with engine.connect() as connection:
            two_phase = connection.begin_twophase()
            played(note, done, connection)
            two_phase.prepare()
            two_phase.commit()
    else:
        with Session(engine, twophase=True) as session:
            played(note, done, session)
            session.prepare()
            session.commit()
    engine.dispose()
    check(db)
    assert woken_queues(listening) == []


def test_jobs_of_a_two_phase_transaction_of_an_async_session_are_stored_without_a_wake_up(
    note, done, dsn, db, listening
):
    async def scenario() -> None:
        engine = create_async_engine(sqlalchemy_url(dsn))
        async with AsyncSession(engine, twophase=True) as session:
            await played_async(note, done, session)
            await session.commit()
        await engine.dispose()

    asyncio.run(scenario())
    check(db)
    assert woken_queues(listening) == []


@pytest.mark.parametrize(
    "enqueue",
    [
        lambda task: task.enqueue("a"),
        lambda task: task.using(unique_key="a").enqueue("a"),
        lambda task: task.using(idempotency_key="a").enqueue("a"),
        lambda task: task.enqueue_many([{"text": "a"}] * 3),
        lambda task: task.enqueue_many([{"text": "a"}] * 200),
        lambda task: task.enqueue_many([{"text": "a"}, {"text": "b"}], unique_keys=["a", "held"]),
        lambda task: task.using(unique_key="held", on_conflict="replace").enqueue("a"),
        lambda task: task.using(unique_key="b", throttle=5).enqueue("a"),
    ],
    ids=["alone", "unique", "idempotent", "a few", "COPY", "keys", "replace", "throttle"],
)
def test_a_transaction_can_be_prepared_if_its_enqueues_send_no_wake_up(note, dsn, db, listening, enqueue):
    note.using(unique_key="held", delay=60).enqueue("held")
    with psycopg.connect(dsn) as connection:
        enqueue(note.using(connection, wake=False))
        connection.execute("prepare transaction 'by hand'")
    finish(db)
    assert woken_queues(listening) == []


def test_enqueue_many_wakes_no_queue_for_jobs_whose_option_wake_is_false(db, listening):
    with db.transaction():
        db.execute("""select pgqueue.enqueue('t', '{}', '{"wake": false}')""")
        db.execute("""select pgqueue.enqueue_many('[{"task": "t", "wake": false, "unique_key": "a"},
                      {"task": "t", "queue": "mail", "unique_key": "b"}, {"task": "t", "wake": false, "queue": "slow"}]')""")
    assert woken_queues(listening) == ["mail"]


def test_a_transaction_sends_no_notification_if_it_sets_pgqueue_notify_to_off(note, db, listening):
    running = note.enqueue("a")
    woken_queues(listening)
    with db.transaction():
        db.execute("set local pgqueue.notify = off")
        db.execute("select pgqueue.enqueue('t'), pgqueue.edit(%s, '{\"delay\": 0}')", [running.id])
        db.execute(
            "update pgqueue.jobs_live set state = 'running', worker_id = 1 where id = %s", [running.id]
        )
        db.execute("select pgqueue.cancel(%s)", [running.id])
    assert woken_queues(listening) == []


def test_a_workflow_can_be_prepared_if_its_transaction_sets_pgqueue_notify_to_off(
    app, note, dsn, db, listening
):
    with psycopg.connect(dsn) as connection:
        connection.execute("set local pgqueue.notify = 'off'")
        with app.workflow("flow", using=connection) as flow:
            flow.add(note.job("a"))
        connection.execute("prepare transaction 'by hand'")
    finish(db)
    assert woken_queues(listening) == []
    assert flow.handle.progress().counts == {"pending": 1}


@pytest.mark.parametrize("jobs", [2, 200])
def test_workflows_and_batches_of_a_two_phase_transaction_of_psycopg_wake_no_worker(
    app, note, dsn, db, listening, jobs
):
    with psycopg.connect(dsn) as connection:
        connection.tpc_begin(connection.xid(1, "pgqueue", "test"))
        app.enqueue_workflow(group(note.job("a") for _ in range(jobs)), using=connection)
        with app.batch("batch", using=connection) as batch:
            batch.add(note.job("b") for _ in range(jobs))
        connection.tpc_prepare()
        connection.tpc_commit()
    assert woken_queues(listening) == []
    assert db.execute("select count(*) from pgqueue.jobs_live").fetchall() == [(2 * jobs,)]


def test_the_option_wake_must_be_true_or_false(note):
    with pytest.raises(InvalidOptionError, match="give True or False"):
        note.using(wake="no")

"""Tests of what an enqueue stores, what happens to duplicates, and for which queues an enqueue wakes workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import Connection, IsolationLevel

from pgqueue import App, NewJob, Task
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import AutocommitWarning, IdempotencyConflictError, InvalidBatchError
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.worker_by_hand import Hand


@pytest.fixture
def greet(app: App) -> Task[..., Any]:
    @app.task(name="greet")
    def greet(name: str) -> None: ...

    return greet


def names(db: Connection[Any]) -> list[str]:
    return [row[0] for row in db.execute("select args ->> 'name' from pgqueue.jobs order by id")]


def test_a_job_is_stored_with_the_defaults_of_its_task(app: App, db: Connection[Any]) -> None:
    @app.task(name="greet", queue="mail", priority=5, retry=[1, 2], timeout="1m")
    def greet(name: str) -> None: ...

    handle = greet.enqueue("Ada")

    assert handle.created
    row = db.execute(
        "select state, queue, priority, max_attempts, extract(epoch from timeout)::int, args from pgqueue.jobs where id = %s",
        [handle.id],
    ).fetchone()
    assert row == ("pending", "mail", 5, 3, 60, {"name": "Ada"})


def test_every_option_is_stored(greet, db):
    at = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    handle = greet.using(
        queue="mail", priority=-7, run_at=at, unique_key="u", idempotency_key="i", idempotency_ttl="1h",
        max_attempts=2, timeout=1.5, concurrency_key="c", tags=["a", "b"], meta={"by": "Eve"},
    ).enqueue("Ada")  # fmt: skip
    job = handle.job()
    assert (job.queue, job.priority, job.run_at, job.unique_key, job.max_attempts) == ("mail", -7, at, "u", 2)
    assert (job.timeout, job.concurrency_key, job.tags, job.meta) == (1.5, "c", ("a", "b"), {"by": "Eve"})
    [(ttl,)] = db.execute(
        "select extract(epoch from expires_at - created_at)::int from pgqueue.idempotency_keys"
    )
    assert ttl == 3600


@pytest.mark.parametrize("delay", [60, "1m", timedelta(minutes=1)])
def test_a_delay_is_added_to_the_time_of_the_database(greet, db, delay):
    greet.using(delay=delay).enqueue("Ada")
    assert db.execute("select run_at - created_at from pgqueue.jobs").fetchone() == (timedelta(minutes=1),)


def test_a_task_with_options_can_be_reused_and_given_more_options(greet, db):
    mailing = greet.using(queue="mail", tags=["x"])
    mailing.using(priority=3).enqueue("Ada")
    mailing.enqueue("Bob")
    greet.enqueue("Cid")
    found = db.execute("select queue, priority, tags from pgqueue.jobs order by id").fetchall()
    assert found == [("mail", 3, ["x"]), ("mail", 0, ["x"]), ("default", 0, [])]


def test_one_batch_stores_jobs_of_several_tasks(app, greet, db):
    @app.task(name="bill")
    def bill(amount: int) -> None: ...

    handles = app.enqueue_many([greet.job("Ada"), bill.using(queue="money").job(3)])
    asyncio.run(app.aenqueue_many([bill.job(4)]))
    found = db.execute("select id, task, queue from pgqueue.jobs order by id").fetchall()
    assert found[:2] == [(handles[0].id, "greet", "default"), (handles[1].id, "bill", "money")]
    assert found[2][1:] == ("bill", "default")


def test_the_error_of_a_refused_batch_contains_the_indexes_of_its_bad_items(greet, db):
    items: list[Any] = [{"name": "x"} for _ in range(10_000)]
    items[77], items[9_000], items[9_001] = {"name": 5}, {"nam": "x"}, "nothing"
    with pytest.raises(InvalidBatchError, match=r"PGQ-408  3 of the items are bad: \[77\] .*name") as caught:
        greet.enqueue_many(items)
    assert list(caught.value.reasons) == [77, 9_000, 9_001]
    assert names(db) == []
    with pytest.raises(InvalidBatchError) as caught:
        greet.enqueue_many([{} for _ in range(100)])
    assert len(caught.value.reasons) == 20


# ------------------------------------------------------------------ keys


@pytest.mark.parametrize("key", ["unique_key", "idempotency_key"])
def test_a_batch_reports_for_each_item_whether_it_is_a_duplicate(greet, db, key):
    def item(name: str, value: str) -> NewJob:
        return greet.using(**{key: value}).job(name)

    held = greet.using(**{key: "held"}).enqueue("Ada")
    handles = greet.enqueue_many([item("Bob", "b"), item("Ada", "held"), item("Bob", "b"), {"name": "Cid"}])
    assert [handle.created for handle in handles] == [True, False, False, True]
    assert [handles[1].id, handles[2].id] == [held.id, handles[0].id]
    assert {handle.conflict for handle in handles} == {None, key}
    assert names(db) == ["Ada", "Bob", "Cid"]


def test_jobs_of_two_tasks_can_have_the_same_key(app, greet):
    @app.task(name="other")
    def other(name: str) -> None: ...

    for key in ("unique_key", "idempotency_key"):
        assert greet.using(**{key: "k"}).enqueue("Ada").created
        assert other.using(**{key: "k"}).enqueue("Ada").created


@pytest.mark.parametrize("how", ["completed", "dead", "cancelled by its handler", "cancelled"])
def test_a_unique_key_is_free_again_when_the_job_that_has_it_is_finished(greet, db, how):
    held = greet.using(unique_key="k").enqueue("Ada")
    assert not greet.using(unique_key="k").enqueue("Bob").created
    if how == "cancelled":
        assert run(db, statements.cancel(held.id)) == "cancelled"
    else:
        hand = Hand(db, ["greet"])
        [row] = hand.claim()
        again = greet.using(unique_key="k").enqueue("Bob")
        assert (again.created, again.state) == (False, "running")
        outcomes = {"completed": COMPLETED, "dead": Outcome.dead("permanent_error", ValueError())}
        hand.settle(row, outcomes.get(how, Outcome.cancelled("enough")))
    assert greet.using(unique_key="k").enqueue("Cid").created


def test_an_idempotency_key_outlives_its_job_until_the_key_expires(greet, db):
    keyed = greet.using(idempotency_key="k", idempotency_ttl="1h")
    first = keyed.enqueue("Ada")
    hand = Hand(db, ["greet"])
    hand.settle(hand.claim()[0], COMPLETED)
    again = keyed.enqueue("Ada")
    assert (again.created, again.id, again.state) == (False, first.id, "completed")
    db.execute("delete from pgqueue.jobs_done")
    assert keyed.enqueue("Ada").state == "deleted"
    with pytest.raises(IdempotencyConflictError, match="PGQ-407"):
        keyed.enqueue("Bob")

    db.execute("update pgqueue.idempotency_keys set expires_at = clock_timestamp()")
    assert keyed.enqueue("Bob").created
    assert not keyed.enqueue("Bob").created, "the new job has the key"


def test_an_enqueue_with_both_keys_returns_the_job_that_has_the_unique_key(greet):
    first = greet.using(unique_key="u").enqueue("Ada")
    both = greet.using(unique_key="u", idempotency_key="i").enqueue("Ada")
    assert (both.created, both.id, both.conflict) == (False, first.id, "unique_key")
    again = greet.using(idempotency_key="i").enqueue("Ada")
    assert (again.created, again.id, again.conflict) == (False, first.id, "idempotency_key")


LEVELS = [IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_an_enqueue_joins_a_transaction_of_any_isolation_level_and_finds_duplicates(
    greet, db, connect, level
):
    held = greet.using(unique_key="u", idempotency_key="i").enqueue("Ada")
    with connect(autocommit=False) as connection:
        connection.isolation_level = level
        joined = greet.using(connection)
        assert joined.enqueue("Bob").created
        assert joined.using(unique_key="u").enqueue("Cid").id == held.id
        assert joined.using(idempotency_key="i").enqueue("Ada").id == held.id
        with pytest.raises(IdempotencyConflictError):
            joined.using(idempotency_key="i").enqueue("Cid")
        connection.commit()
    assert names(db) == ["Ada", "Bob"]


@pytest.mark.parametrize("level", LEVELS[1:], ids=lambda level: level.name)
def test_an_enqueue_fails_to_serialize_if_its_snapshot_is_older_than_a_job_with_the_same_key(
    greet, connect, level
):
    with connect(autocommit=False) as connection:
        connection.isolation_level = level
        connection.execute("select 1 from pgqueue.jobs")
        greet.using(unique_key="u").enqueue("Ada")
        with pytest.raises(psycopg.errors.SerializationFailure):
            greet.using(connection, unique_key="u").enqueue("Bob")


def test_an_enqueue_on_an_autocommit_connection_warns(greet, connect):
    connection = connect()
    with pytest.warns(AutocommitWarning, match="PGQ-502") as caught:
        greet.using(connection).enqueue("Ada")
    assert caught[0].filename == __file__, "the warning points to the line of the enqueue"
    with connection.transaction():
        greet.using(connection).enqueue("Bob")


# ------------------------------------------------------------------ wake-ups


@pytest.fixture
def woken_queues(connect: Callable[..., Connection[Any]]) -> Callable[[], list[str]]:
    """Returns a function. This function returns the queues for which wake-ups were sent since its last call.

    In order to know that all wake-ups have arrived, it sends a notification and waits until this notification arrives.
    """
    listener = connect()
    listener.execute("listen pgqueue")

    def since() -> list[str]:
        listener.execute("notify pgqueue, 'end'")
        found: list[str] = []
        for note in listener.notifies(timeout=20):
            if note.payload == "end":
                break
            found.append(note.payload)
        return sorted(found)

    return since


def test_a_transaction_wakes_each_of_its_queues_once(greet, connect, woken_queues):
    with connect(autocommit=False) as connection:
        joined = greet.using(connection)
        for _ in range(3):
            joined.enqueue("Ada")
        joined.using(queue="mail").enqueue_many([{"name": "Bob"}] * 5)
        assert woken_queues() == [], "no wake-up is sent before the commit"
        connection.commit()
    assert woken_queues() == ["default", "mail"]


def test_a_transaction_that_is_rolled_back_wakes_no_queue(greet, connect, woken_queues):
    with connect(autocommit=False) as connection:
        greet.using(connection).enqueue("Ada")
        connection.rollback()
    assert woken_queues() == []


def test_a_scheduled_job_and_a_duplicate_wake_no_queue(greet, woken_queues):
    greet.using(unique_key="k", delay=60).enqueue("Ada")
    greet.using(unique_key="k").enqueue("Bob")
    assert woken_queues() == []


def test_a_busy_queue_is_not_woken_until_its_busy_mark_is_removed(greet, db, woken_queues):
    until = run(db, statements.mark_busy(["default"], 60))
    greet.enqueue("Ada")
    greet.using(queue="mail").enqueue("Bob")
    assert woken_queues() == ["mail"]
    run(db, statements.mark_busy(["default"], 0, until))
    greet.enqueue("Cid")
    assert woken_queues() == ["default"]


def test_async_enqueues_one_after_the_other_use_one_connection(app, greet, db):
    """The pool opens no second connection during the enqueues. If it were still opening one at the end of ``asyncio.run()``,
    ``asyncio.run()`` would not return.
    """

    async def many() -> int:
        for n in range(20):
            await greet.aenqueue(str(n))
        sessions = "select count(*) from pg_stat_activity where application_name = 'pgqueue app' and datname = current_database()"
        return db.execute(sessions).fetchone()[0]

    assert asyncio.run(many()) == 1

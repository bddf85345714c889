"""Tests of debounce, throttle and idempotency keys: which job is stored, and what an enqueue returns if it repeats a request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, PgQueueError
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    IdempotencyConflictError,
    JobFailedError,
)
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.steps import Checkpoint
from pgqueue.worker.attempt import Attempt
from tests.days_of_jobs import make_days, name_of
from tests.factories import count, let_time_pass, row
from tests.worker_by_hand import Hand, finish_one

BOOM = Outcome.dead("permanent_error", ValueError("boom"))

WON = Outcome.completed('{"sum": 3}')


# ------------------------------------------------------------------ debounce


def due_in(db: Connection[Any], job_id: int) -> float:
    return float(row(db, job_id, "extract(epoch from run_at - clock_timestamp())")[0])


def test_each_further_enqueue_postpones_a_debounced_job_until_debounce_max_is_over(refresh, db):
    debounced = refresh.using(unique=["account"], debounce=20, debounce_max=50)
    first = debounced.enqueue(7, note="a")
    assert due_in(db, first.id) == pytest.approx(20, abs=2)
    for note, passed, left in (("b", 15, 20), ("c", 15, 20), ("d", 15, 5), ("e", 3, 2)):
        let_time_pass(db, passed)
        again = debounced.enqueue(7, note=note)
        assert (again.id, again.created, again.state, again.conflict) == (
            first.id,
            False,
            "pending",
            "debounce",
        )
        assert due_in(db, first.id) == pytest.approx(left, abs=2)
        assert first.job().args["note"] == note
    assert debounced.enqueue(8).created
    assert count(db) == 2


def claimed_later(db: Connection[Any]) -> tuple[Hand, Attempt]:
    """Claims the debounced job when its time has come. Returns the worker by hand, and the attempt."""
    let_time_pass(db, 30)
    hand = Hand(db, ["refresh"])
    [claimed] = hand.claim()
    return hand, claimed


def test_an_enqueue_while_the_debounced_job_runs_stores_the_next_job(refresh, db):
    debounced = refresh.using(unique_key="k", debounce=20)
    first = debounced.enqueue(1)
    hand, claimed = claimed_later(db)
    second = debounced.enqueue(2)
    assert second.created
    assert debounced.enqueue(3).id == second.id
    assert hand.settle(claimed, COMPLETED)
    assert debounced.enqueue(4).id == second.id
    assert row(db, first.id, "args, state") == ({"account": 1}, "completed")
    assert row(db, second.id, "args, state, unique_key") == ({"account": 4}, "pending", None)


def test_an_enqueue_after_the_debounced_job_has_stored_a_step_stores_the_next_job(refresh, db):
    debounced = refresh.using(unique_key="k", debounce=20)
    first = debounced.enqueue(1)
    hand, claimed = claimed_later(db)
    made = Checkpoint("step", "s", "", 1, "1")
    assert run(db, statements.store_checkpoint(hand.id, claimed.id, claimed.lease_id, made))
    assert hand.settle(claimed, Outcome.snoozed(60.0))
    second = debounced.enqueue(2)
    assert second.created
    assert row(db, first.id, "args, state") == ({"account": 1}, "pending")


def test_a_debounced_batch_stores_for_each_key_its_last_item_with_this_key(refresh, db):
    debounced = refresh.using(unique=["account"], debounce=20)
    handles = debounced.enqueue_many([{"account": n % 2, "note": str(n)} for n in range(6)])
    assert [handle.created for handle in handles] == [False, False, False, False, True, True]
    assert {handle.id for handle in handles[::2]} == {handles[4].id}
    assert handles[4].job().args["note"] == "4"
    again = debounced.enqueue_many([{"account": 0, "note": "x"}, {"account": 0, "note": "y"}])
    assert {(handle.id, handle.created, handle.state) for handle in again} == {
        (handles[4].id, False, "pending")
    }
    assert handles[4].job().args["note"] == "y"
    assert count(db) == 2


def test_an_enqueue_stores_a_new_job_after_the_debounced_job_was_cancelled(refresh, db):
    debounced = refresh.using(unique_key="k", debounce=20)
    first = debounced.enqueue(1)
    run(db, statements.cancel(first.id))
    assert debounced.enqueue(2).created


def test_the_key_of_a_debounced_job_is_kept_until_the_job_ends(refresh, db):
    debounced = refresh.using(unique_key="k", debounce=20)
    first = debounced.enqueue(1)
    let_time_pass(db, 30 * 86_400)
    assert run(db, statements.purge(100))[0] == 0
    assert debounced.enqueue(2).id == first.id
    finish_now(db)
    assert run(db, statements.purge(100))[0] == 1


def finish_now(db: Connection[Any]) -> None:
    db.execute("update pgqueue.jobs_live set run_at = clock_timestamp()")
    finish_one(db)


# ------------------------------------------------------------------ throttle and idempotency: the answer to a repeated request


def test_a_throttle_returns_the_first_job_of_the_period_even_if_this_job_has_ended(refresh, db):
    throttled = refresh.using(unique=["account"], throttle=60)
    first = throttled.enqueue(7, note="a")
    again = throttled.enqueue(7, note="b")
    assert (again.id, again.created, again.state, again.conflict) == (first.id, False, "pending", "throttle")
    finish_one(db, WON)
    later = throttled.enqueue_many([{"account": 7}, {"account": 8}, {"account": 8}])
    assert (later[0].id, later[0].state, later[0].stored_result) == (first.id, "completed", {"sum": 3})
    assert [handle.created for handle in later] == [False, True, False]
    assert later[2].id == later[1].id
    let_time_pass(db, 61)
    assert throttled.enqueue(7).created
    assert not throttled.enqueue(7).created
    assert row(db, first.id, "unique_key") == (None,)


def test_keys_of_different_kinds_with_the_same_text_are_different_keys(refresh):
    assert refresh.using(unique_key="k", throttle=60).enqueue(1).created
    assert refresh.using(unique_key="k", debounce=60).enqueue(2).created
    assert refresh.using(idempotency_key="k").enqueue(3).created
    assert refresh.using(unique_key="k").enqueue(4).created


def test_long_keys_are_throttled_and_debounced_too(refresh):
    for rule in ("throttle", "debounce"):
        keyed = refresh.using(unique_key="k" * 255, **{rule: 60})
        assert keyed.enqueue(1).created
        assert not keyed.enqueue(2).created


@pytest.mark.parametrize("kept_by", ["its row", "its key after its day", "its key after a purge"])
@pytest.mark.parametrize("outcome", [WON, Outcome.cancelled("enough")], ids=lambda outcome: outcome.state)
def test_a_repeated_request_returns_the_outcome_of_the_first_request(refresh, db, outcome, kept_by):
    make_days(db, *range(9))
    keyed = refresh.using(idempotency_key="i", idempotency_ttl="30d")
    first = keyed.enqueue(7)
    assert keyed.enqueue(7).stored_result is None
    finish_one(db, outcome)
    if kept_by != "its row":
        forget(db, by_purge=kept_by.endswith("purge"))
    assert count(db) == (kept_by == "its row")
    again = keyed.enqueue(7)
    assert (again.id, again.created, again.state) == (first.id, False, outcome.state)
    asked = db.execute(
        "select result, error from pgqueue.enqueue('refresh', '{\"account\": 7}', '{\"idempotency_key\": \"i\"}')"
    )
    assert asked.fetchone() == (again.stored_result, again.stored_error)
    if outcome is WON:
        assert again.stored_result == again.result() == asyncio.run(again.aresult()) == {"sum": 3}
        assert again.stored_error is None
    else:
        assert again.stored_error == "enough"
        with pytest.raises(JobFailedError, match=f"Job {first.id} is cancelled: enough"):
            again.result()
    with pytest.raises(IdempotencyConflictError):
        keyed.enqueue(8)
    db.execute("update pgqueue.idempotency_keys set expires_at = clock_timestamp()")
    anew = keyed.enqueue(8)
    assert anew.created
    assert keyed.enqueue(8).state == "pending", "the former outcome is deleted when its key expires"


def forget(db: Connection[Any], *, by_purge: bool) -> None:
    """Moves the finished job some days into the past, and lets retention remove it.

    Retention drops the whole day table of the job. With ``by_purge`` it deletes only the job, because the job's queue has a shorter retention.
    """
    if by_purge:
        db.execute("insert into pgqueue.queues (name, retention) values ('patient', '7 days')")
        db.execute("update pgqueue.queues set retention = '2 days' where name = 'default'")
    ago = 5 if by_purge else 8
    db.execute("update pgqueue.jobs_done set finished_at = finished_at - make_interval(days => %s)", [ago])
    if by_purge:
        run(db, statements.purge_jobs(name_of(ago), 0, 1000))
    else:
        change = run(db, statements.drop_partitions())
        assert change
        assert (change.name, change.what) == (name_of(ago), "dropped")


def test_a_repeated_request_returns_the_error_of_a_dead_job(refresh, db):
    keyed = refresh.using(idempotency_key="i")
    keyed.enqueue(7)
    finish_one(db, BOOM)
    again = keyed.enqueue(7)
    assert (again.state, again.stored_error) == ("dead", "ValueError: boom")


def test_a_repeated_request_returns_the_state_deleted_if_the_task_keeps_no_rows(refresh, db):
    keyed = refresh.using(idempotency_key="i")
    keyed.enqueue(7)
    finish_one(db, Outcome.completed(None, "none"))
    assert keyed.enqueue(7).state == "deleted"


def test_keys_work_with_async_enqueues_too(app, refresh):
    async def play() -> list[Any]:
        keyed = refresh.using(unique=["account"])
        try:
            return [
                await keyed.aenqueue(7),
                await keyed.aenqueue(7),
                *await keyed.aenqueue_many([{"account": 8}] * 2),
            ]
        finally:
            await app.aclose()

    assert [handle.created for handle in asyncio.run(play())] == [True, False, True, False]


def test_a_bad_combination_of_options_in_a_batch_is_refused_before_anything_is_sent(refresh, db):
    with pytest.raises(PgQueueError, match="without a key"):
        refresh.enqueue_many([refresh.using(throttle=5).job(1)])
    assert count(db) == 0


def test_a_refused_batch_does_not_change_a_debounced_job(app: App, db: Connection[Any], connect: Any) -> None:
    @app.task(name="both")
    def both(a: int) -> None: ...

    mine = connect(autocommit=False)

    def enqueue(a: int) -> None:
        app.enqueue_many(
            [both.using(unique_key="d", debounce=60).job(a=a), both.using(idempotency_key="i").job(a=a)], mine
        )

    enqueue(1)
    mine.commit()
    with pytest.raises(IdempotencyConflictError):
        enqueue(2)
    mine.commit()
    assert db.execute("select args ->> 'a' from pgqueue.jobs").fetchall() == [("1",), ("1",)]

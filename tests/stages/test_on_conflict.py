"""The effect of a duplicate on the job that has its key: the duplicate replaces the job, raises an error, or does nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import (
    DuplicateJobError,
)
from pgqueue.model.outcome import Outcome
from pgqueue.model.steps import Checkpoint
from tests.factories import count, enqueue_row, row
from tests.worker_by_hand import Hand, finish_one

RULES = "weight, ordering, expires_at, deadline_at"


def test_a_pending_job_is_replaced_as_a_whole_and_keeps_its_id(refresh, db):
    first = refresh.using(unique_key="k", delay=60, tags=["old"]).enqueue(1)
    at = datetime(2031, 1, 2, tzinfo=UTC)
    again = refresh.using(
        unique_key="k", on_conflict="replace", run_at=at, priority=3, queue="mail", tags=["new"], meta={"m": 1},
        max_attempts=2, timeout=9, concurrency_key="c", weight=3, ordering="skip", expires=at, deadline=at,
    ).enqueue(2)  # fmt: skip
    assert (again.id, again.created, again.state, again.conflict) == (
        first.id,
        False,
        "pending",
        "unique_key",
    )
    now = row(
        db,
        first.id,
        "args, run_at, priority, queue, tags, meta, max_attempts, timeout, concurrency_key, unique_key",
    )
    assert now == ({"account": 2}, at, 3, "mail", ["new"], {"m": 1}, 2, timedelta(seconds=9), "c", "k")
    assert row(db, first.id, RULES) == (3, "skip", at, at)
    assert count(db) == 1
    refresh.using(unique_key="k", on_conflict="replace").enqueue(3)
    assert row(db, first.id, "args, priority, tags, run_at <= clock_timestamp()") == (
        {"account": 3},
        0,
        [],
        True,
    )
    assert row(db, first.id, RULES) == (None, None, None, None)


@pytest.mark.parametrize("by", ["python", "python with its shorter statement", "sql"])
@pytest.mark.parametrize(
    "rules",
    [
        {"unique_key": "k"},
        {"unique": ["account"], "on_conflict": "replace"},
        {"unique": True, "on_conflict": "raise"},
        {"unique": True, "throttle": 60},
        {"unique": True, "debounce": 60},
        {"idempotency_key": "k"},
    ],
    ids=str,
)
def test_a_job_with_a_key_is_stored_with_all_its_other_options(refresh, db, rules, by):
    others = {"concurrency_key": "c", "weight": 3, "ordering": "block", "expires": 3600, "deadline": 7200}
    if by == "sql":
        job_id = enqueue_row(db, "refresh", {"account": 1}, **rules, **others)[0]
    else:
        # Without these two options, an enqueue of one job uses a shorter statement.
        if by == "python with its shorter statement":
            del others["expires"], others["deadline"]
        job_id = refresh.using(**rules, **others).enqueue(1).id
    left = "round(extract(epoch from {}_at - created_at))::int"
    found = row(db, job_id, f"weight, ordering, {left.format('expires')}, {left.format('deadline')}")
    assert found == (3, "block", others.get("expires"), others.get("deadline"))


@pytest.mark.parametrize(
    ("bound", "rules", "ended"),
    [
        ("expires", {}, "cancelled"),
        ("expires", {"on_conflict": "raise"}, "cancelled"),
        ("deadline", {"on_conflict": "replace"}, "dead"),
        ("deadline", {}, "dead"),
    ],
)
@pytest.mark.parametrize("others", [0, 2])
def test_an_overdue_job_no_longer_has_its_key(refresh, db, bound, rules, ended, others):
    """The key is free even before a leader has ended the job. Otherwise a new request would get a job that never runs."""
    keyed = refresh.using(unique=["account"])
    over = keyed.using(**{bound: 60}).enqueue(1)
    held = keyed.using(**{bound: 60}).enqueue(0)
    db.execute(
        f"update pgqueue.jobs_live set {bound}_at = clock_timestamp() where id = %s".encode(), [over.id]
    )
    accounts = [{"account": number} for number in range(1, 2 + others)]
    handles = keyed.using(**rules).enqueue_many(accounts)
    assert [handle.created for handle in handles] == [True] * (1 + others)
    assert row(db, over.id, "state") == (ended,)
    assert row(db, held.id, "state") == ("pending",)
    assert {row(db, handle.id, "state, unique_key is null") for handle in handles} == {("pending", False)}
    assert not keyed.enqueue(1).created


def test_a_job_whose_cancel_was_requested_is_cancelled_and_not_replaced(refresh, db):
    """The cancel came too late for the attempt, which ended in a retry, and no leader has cancelled the job yet."""
    keyed = refresh.using(unique_key="k", on_conflict="replace")
    first = keyed.enqueue(1)
    db.execute("update pgqueue.jobs_live set state = 'retrying', cancel_requested = true")
    again = keyed.enqueue(2)
    assert again.created
    assert row(db, first.id, "state, args") == ("cancelled", {"account": 1})
    assert row(db, again.id, "state, args, cancel_requested") == ("pending", {"account": 2}, False)


def test_an_enqueue_stores_a_new_job_after_the_debounced_job_has_expired(refresh, db):
    calm = refresh.using(unique=True, debounce=60, expires=600)
    first = calm.enqueue(1)
    db.execute("update pgqueue.jobs_live set expires_at = clock_timestamp()")
    again = calm.enqueue(1)
    assert again.created
    run(db, statements.finish_overdue(10))
    assert [row(db, handle.id, "state") for handle in (first, again)] == [("cancelled",), ("pending",)]
    assert not calm.enqueue(1).created


def test_a_repeated_request_returns_the_error_of_an_expired_job(refresh, db):
    request = refresh.using(idempotency_key="r", expires=60)
    first = request.enqueue(1)
    db.execute("update pgqueue.jobs_live set expires_at = clock_timestamp()")
    run(db, statements.finish_overdue(10))
    again = request.enqueue(1)
    assert (again.id, again.created, again.state) == (first.id, False, "cancelled")
    assert again.stored_error == "It had not started when it expired."


def test_an_edited_job_keeps_its_keys(refresh, db):
    keyed, request = refresh.using(unique=["account"]), refresh.using(idempotency_key="r")
    one, two = keyed.enqueue(1), request.enqueue(2)
    one.edit(args={"account": 3})
    two.edit(args={"account": 4})
    assert keyed.enqueue(1).id == one.id
    assert request.enqueue(2).id == two.id
    assert keyed.enqueue(3).created


def test_a_retrying_job_is_replaced_and_keeps_its_attempts(refresh, db):
    keyed = refresh.using(unique_key="k", on_conflict="replace", max_attempts=1)
    first = keyed.using(max_attempts=6).enqueue(1)
    finish_one(db, Outcome.retried(60.0, ValueError("no")))
    again = keyed.enqueue(2)
    assert (again.created, again.state, again.conflict) == (False, "retrying", "unique_key")
    assert row(db, first.id, "args, attempt, max_attempts") == ({"account": 2}, 1, 2)
    finish_one(db)
    assert keyed.enqueue(3).created


def test_a_running_job_is_not_replaced_and_its_handle_is_returned(refresh, db):
    first = refresh.using(unique_key="k").enqueue(1)
    Hand(db, ["refresh"]).claim()
    again = refresh.using(unique_key="k", on_conflict="replace").enqueue(2)
    assert (again.id, again.created, again.state, again.conflict) == (
        first.id,
        False,
        "running",
        "unique_key",
    )
    assert row(db, first.id, "args") == ({"account": 1},)


@pytest.mark.parametrize("rest", ["sleeps", "is retried", "is overdue"])
def test_a_job_that_has_stored_a_step_is_not_replaced(refresh, db, rest):
    """Its next attempt would take the results of steps that were done with the old arguments."""
    keyed = refresh.using(unique_key="k")
    first = keyed.enqueue(1)
    hand = Hand(db, ["refresh"])
    [attempt] = hand.claim()
    assert run(
        db,
        statements.store_checkpoint(
            hand.id, attempt.id, attempt.lease_id, Checkpoint("step", "s", "", 1, "1")
        ),
    )
    assert hand.settle(
        attempt, Outcome.snoozed(60.0) if rest == "sleeps" else Outcome.retried(60.0, ValueError("no"))
    )
    if rest == "is overdue":
        db.execute("update pgqueue.jobs_live set expires_at = clock_timestamp() - interval '1 s'")
    again = keyed.using(on_conflict="replace").enqueue(2)
    if rest == "is overdue":
        assert again.created
        return
    assert (again.id, again.created, again.state, again.conflict) == (
        first.id,
        False,
        "running",
        "unique_key",
    )
    assert row(db, first.id, "args, run_at > clock_timestamp()") == ({"account": 1}, True)


def test_the_last_item_of_a_batch_replaces_earlier_items_with_the_same_key(refresh, db):
    keyed = refresh.using(unique=["account"], on_conflict="replace")
    handles = keyed.enqueue_many([{"account": 1, "note": "a"}, {"account": 2}, {"account": 1, "note": "b"}])
    assert [handle.created for handle in handles] == [True, True, False]
    assert handles[0].job().args == {"account": 1, "note": "b"}


def test_on_conflict_raise_reports_the_job_with_the_key_and_does_not_abort_the_transaction(
    refresh, db, connect
):
    held = refresh.using(unique_key="k").enqueue(1)
    with connect(autocommit=False) as connection:
        joined = refresh.using(connection)
        kept = joined.enqueue(5)
        with pytest.raises(DuplicateJobError, match=rf"PGQ-406  Job {held.id} .* pending") as caught:
            joined.using(unique_key="k", on_conflict="raise").enqueue(2)
        assert (caught.value.job_id, caught.value.state) == (held.id, "pending")
        one = joined.using(unique_key="new", on_conflict="raise", idempotency_key="i").job(3)
        two = joined.using(unique_key="k", on_conflict="raise").job(4)
        with pytest.raises(DuplicateJobError):
            joined.enqueue_many([one, {"account": 9}, two])
        assert joined.using(unique_key="new", on_conflict="raise").enqueue(6).created
        connection.commit()
    assert db.execute("select id from pgqueue.jobs where args ->> 'account' in ('5', '6')").fetchone() == (
        kept.id,
    )
    assert count(db) == 3
    assert count(db, "idempotency_keys") == 0


def test_on_conflict_raise_returns_a_row_in_sql_instead_of_an_error(db):
    held, *_ = enqueue_row(db, "refresh", {}, unique_key="k")
    assert enqueue_row(db, "refresh", {}, unique_key="k", on_conflict="raise") == (
        held,
        False,
        "pending",
        "duplicate",
    )
    with pytest.raises(psycopg.Error, match="all or nothing"):
        db.execute(
            "select pgqueue.enqueue_many(%s)",
            [Jsonb([{"task": "t", "unique_key": "a", "on_conflict": how} for how in ("raise", "replace")])],
        )


def test_a_throttle_with_on_conflict_raise_reports_the_finished_job_and_stores_nothing(refresh, db):
    throttled = refresh.using(unique=["account"], throttle=60, on_conflict="raise")
    first = throttled.enqueue(7)
    finish_one(db)
    with pytest.raises(DuplicateJobError, match="completed") as caught:
        throttled.enqueue_many([{"account": 8}, {"account": 7}])
    assert (caught.value.job_id, caught.value.state) == (first.id, "completed")
    assert throttled.enqueue(8).created, "the refused batch stored no job"

"""Batches in the database: a retry runs the members that did not complete, and a cancel ends those that do not run."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.batches import (
    FOLLOW_UPS,
    add,
    cancel,
    counts,
    follow_ups,
    items,
    overview,
    retry,
    run_all,
    seal,
    store,
    store_row,
)
from tests.factories import look, reasons
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, finish

pytestmark = pytest.mark.usefixtures("consistent_batches")


# ------------------------------------------------------------------ retry


def retried_in_slices(db: Connection[Any], batch: int, count: int) -> list[int]:
    """Retries a batch as its handle does. Returns how many members each call has brought back."""
    after, found = 0, []
    while (retried := run(db, statements.retry_members(batch, after, count))).last is not None:
        found.append(retried.jobs)
        after = retried.last
    return found


def test_a_retry_runs_only_what_did_not_complete_and_lets_only_on_success_follow(
    db: Connection[Any], hand: Hand
) -> None:
    batch = store(db, 3, **FOLLOW_UPS)
    good, bad, gone = hand.claim(3)
    hand.settle(good, COMPLETED)
    hand.settle(bad, DEAD)
    hand.settle(gone, Outcome.cancelled("asked"))
    assert run_all(hand) == ["on_failure", "on_end"]
    assert retry(db, batch) == 2
    assert (overview(db, batch), counts(db, batch)) == ("running", (3, 2, 1, 0))
    again = hand.claim(9)
    assert [attempt.id for attempt in again] == [bad.id, gone.id]
    hand.settle(again[0], COMPLETED)
    assert follow_ups(db, batch) == ["on_failure", "on_end"]
    hand.settle(again[1], COMPLETED)
    assert run_all(hand) == ["on_success"]
    assert (overview(db, batch), counts(db, batch)) == ("completed", (3, 0, 3, 0))
    assert retry(db, batch) == 0


def test_members_that_die_again_after_a_retry_let_nothing_follow(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 1, **FOLLOW_UPS)
    run_all(hand, DEAD)
    assert retry(db, batch) == 1
    assert run_all(hand, DEAD) == []
    assert overview(db, batch) == "failed"
    assert follow_ups(db, batch) == ["on_failure", "on_end"]


def test_a_revived_member_opens_the_batch_and_a_revived_follow_up_does_not(
    db: Connection[Any], hand: Hand
) -> None:
    batch = store(db, 1, **FOLLOW_UPS)
    member = hand.claim(1)[0]
    hand.settle(member, DEAD)
    for attempt in hand.claim(9):
        hand.settle(attempt, DEAD)
    [(follow_up,)] = db.execute("select id from pgqueue.nodes where name = 'on_end'")
    assert run(db, statements.revive(follow_up)) == "revived"
    assert overview(db, batch) == "failed"
    assert run(db, statements.revive(member.id)) == "revived"
    assert overview(db, batch) == "running"
    assert run_all(hand) == ["on_end", "on_success"]
    assert overview(db, batch) == "completed"


def test_a_batch_that_is_retried_in_slices_runs_each_member_once(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 0, open=True, **FOLLOW_UPS)
    for size in (3, 1, 1, 1, 1):
        add(db, batch, size)
    seal(db, batch)
    run_all(hand, DEAD)
    assert retried_in_slices(db, batch, 2) == [3, 2, 2]
    assert run_all(hand) == ["on_success"]


def test_a_retry_reaches_each_member_of_parts_whose_ids_interleave(db: Connection[Any], hand: Hand) -> None:
    """Two programs can take the ids of their members at the same time."""
    batch = store(db, 0, open=True, **FOLLOW_UPS)
    [(before,)] = db.execute("select nextval('pgqueue.jobs_id_seq')")
    db.execute("alter sequence pgqueue.jobs_id_seq increment by 2")
    odd = add(db, batch, 2)
    db.execute("select setval('pgqueue.jobs_id_seq', %s)", [before + 1])
    even = add(db, batch, 2)
    db.execute("alter sequence pgqueue.jobs_id_seq increment by 1")
    assert odd[0] < even[0] < odd[1] < even[1]
    seal(db, batch)
    run_all(hand, DEAD)
    assert retried_in_slices(db, batch, 2) == [2, 2]
    assert run_all(hand) == ["on_success"]


def test_members_whose_rows_retention_took_are_left_out_of_a_retry(db: Connection[Any], hand: Hand) -> None:
    batch, _, ids = store_row(db, {"name": "b", "jobs": items(2)})
    run_all(hand, DEAD)
    db.execute("delete from pgqueue.jobs where id = %s", [ids[0]])
    assert retry(db, batch) == 1
    run_all(hand)
    assert counts(db, batch) == (2, 0, 1, 1)
    db.execute("truncate pgqueue.nodes, pgqueue.dependencies, pgqueue.workflows")


# ------------------------------------------------------------------ cancel


def test_a_cancel_ends_what_does_not_run_and_nothing_follows(db: Connection[Any], hand: Hand) -> None:
    batch, _, ids = store_row(db, {"name": "b", "jobs": items(3), **FOLLOW_UPS})
    attempt = hand.claim(1)[0]
    assert cancel(db, batch) == "requested"
    assert (overview(db, batch), counts(db, batch)) == ("stopping", (3, 1, 0, 2))
    assert look(db, attempt.id, "cancel_requested") is True
    assert reasons(db, ids[2]) == [("pending", "cancelled", "workflow_cancelled")]
    hand.settle(attempt, Outcome.retried(0.0, ValueError("x")))
    assert (overview(db, batch), follow_ups(db, batch)) == ("cancelled", [])
    assert cancel(db, batch) == "ended"
    assert finish(db) == 0


def test_an_open_batch_without_open_members_can_be_cancelled(db: Connection[Any]) -> None:
    batch = store(db, 0, open=True, **FOLLOW_UPS)
    assert cancel(db, batch) == "cancelled"
    assert (overview(db, batch), follow_ups(db, batch)) == ("cancelled", [])


def test_a_cancel_after_the_end_leaves_the_follow_ups_alone(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 0, **FOLLOW_UPS)
    assert cancel(db, batch) == "ended"
    assert run_all(hand) == ["on_success", "on_end"]


def test_a_cancelled_batch_goes_on_when_it_is_retried(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 2, **FOLLOW_UPS)
    assert cancel(db, batch) == "cancelled"
    assert (overview(db, batch), follow_ups(db, batch)) == ("cancelled", [])
    assert retry(db, batch) == 2
    assert run_all(hand) == ["on_success", "on_end"]
    assert overview(db, batch) == "completed"


def test_a_cancel_of_a_large_batch_ends_5000_members_and_the_leader_the_others(db: Connection[Any]) -> None:
    batch = store(db, 11_000)
    assert cancel(db, batch) == "requested"
    assert counts(db, batch) == (11_000, 6_000, 0, 5_000)
    assert finish(db) == 2
    assert (overview(db, batch), counts(db, batch)) == ("cancelled", (11_000, 0, 0, 11_000))
    assert finish(db) == 0


def test_a_program_that_fails_abandons_only_a_batch_that_is_not_sealed(db: Connection[Any]) -> None:
    unsealed, sealed = store(db, 1, open=True), store(db, 1)
    assert run(db, statements.abandon_batch(unsealed)) == "cancelled"
    assert run(db, statements.abandon_batch(sealed)) == "sealed"
    assert (overview(db, unsealed), overview(db, sealed)) == ("cancelled", "running")


def test_jobs_that_are_added_and_cancelled_in_one_transaction_can_be_committed(db: Connection[Any]) -> None:
    batch = store(db, 0, open=True)
    with db.transaction():
        add(db, batch, 2)
        cancel(db, batch)
    assert overview(db, batch) == "cancelled"

"""Batches in the database: members are added, the batch ends with the last of them, and its follow-up jobs are stored."""

from __future__ import annotations

from typing import Any

import psycopg
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
    run_all,
    seal,
    store,
    store_row,
)
from tests.factories import add_limit, look
from tests.worker_by_hand import Hand, LimitedHand
from tests.workflows import DEAD, finish

pytestmark = pytest.mark.usefixtures("consistent_batches")


# ------------------------------------------------------------------ the end


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_batch_ends_with_its_last_member_and_its_follow_ups_run_once(
    db: Connection[Any], hand: Hand, size: int
) -> None:
    batch = store(db, size, **FOLLOW_UPS)
    assert overview(db, batch) == "running"
    for left in reversed(range(size)):
        assert follow_ups(db, batch) == []
        hand.settle(hand.claim(1)[0], COMPLETED)
        assert counts(db, batch)[1] == left
    assert follow_ups(db, batch) == ["on_success", "on_end"]
    assert run_all(hand) == ["on_success", "on_end"]
    assert (overview(db, batch), counts(db, batch)) == ("completed", (size, 0, size, 0))
    assert follow_ups(db, batch) == ["on_success", "on_end"]


def test_a_dead_member_lets_on_failure_and_on_end_follow_after_the_last_member(
    db: Connection[Any], hand: Hand
) -> None:
    batch = store(db, 2, **FOLLOW_UPS)
    first, second = hand.claim(2)
    hand.settle(first, DEAD)
    assert follow_ups(db, batch) == []
    hand.settle(second, COMPLETED)
    assert run_all(hand) == ["on_failure", "on_end"]
    assert (overview(db, batch), counts(db, batch)) == ("failed", (2, 0, 1, 1))


def test_an_empty_batch_ends_when_it_is_sealed(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 0, **FOLLOW_UPS)
    assert overview(db, batch) == "completed"
    assert run_all(hand) == ["on_success", "on_end"]
    opened = store(db, 0, open=True, **FOLLOW_UPS)
    assert add(db, opened, []) == []
    assert overview(db, opened) == "open"
    assert seal(db, opened) == "ended"
    assert run_all(hand) == ["on_success", "on_end"]


def test_a_batch_without_follow_ups_ends(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 1)
    run_all(hand)
    assert (overview(db, batch), follow_ups(db, batch)) == ("completed", [])


def test_an_open_batch_does_not_end_although_all_its_members_have_ended(
    db: Connection[Any], hand: Hand
) -> None:
    batch = store(db, 1, open=True, **FOLLOW_UPS)
    run_all(hand)
    assert (overview(db, batch), counts(db, batch), follow_ups(db, batch)) == ("open", (1, 0, 1, 0), [])
    add(db, batch, 2)
    assert seal(db, batch) == "sealed"
    assert run_all(hand) == ["on_success", "on_end"]
    assert counts(db, batch) == (3, 0, 3, 0)


def test_an_attempt_that_is_tried_again_ends_nothing(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 1, **FOLLOW_UPS)
    hand.settle(hand.claim(1)[0], Outcome.retried(0.0, ValueError("x")))
    assert counts(db, batch) == (1, 1, 0, 0)
    assert run_all(hand) == ["on_success", "on_end"]


def test_an_outcome_under_a_lost_lease_counts_nothing(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 1, **FOLLOW_UPS)
    attempt = hand.claim(1)[0]
    db.execute("update pgqueue.jobs_live set lease_id = lease_id + 2")
    assert not hand.settle(attempt, COMPLETED)
    assert counts(db, batch) == (1, 1, 0, 0)


def by_cancel(db: Connection[Any], job: int) -> None:
    run(db, statements.cancel(job))


def by_deadline(db: Connection[Any], job: int) -> None:
    db.execute("update pgqueue.jobs_live set deadline_at = now() - interval '1 s' where id = %s", [job])
    run(db, statements.finish_overdue(10))


def by_expiry(db: Connection[Any], job: int) -> None:
    db.execute("update pgqueue.jobs_live set expires_at = now() - interval '1 s' where id = %s", [job])
    run(db, statements.finish_overdue(10))


def by_make_dead(db: Connection[Any], job: int) -> None:
    run(db, statements.make_dead(1, job, "it cannot be settled"))


def by_crash(db: Connection[Any], job: int) -> None:
    hand = Hand(db, ["t"])
    hand.claim(1)
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s' where id = %s", [hand.id])
    run(db, statements.rescue(1, 10))


def by_delete(db: Connection[Any], job: int) -> None:
    db.execute("delete from pgqueue.jobs where id = %s", [job])
    db.execute("select pgqueue.mend_nodes(0, 0, 100)")


@pytest.mark.parametrize(
    "ends", [by_cancel, by_deadline, by_expiry, by_make_dead, by_crash], ids=lambda way: way.__name__
)
def test_a_member_that_does_not_end_by_its_handler_ends_the_batch(db: Connection[Any], ends: Any) -> None:
    batch, _, [job] = store_row(db, {"name": "b", "jobs": items(1), **FOLLOW_UPS})
    ends(db, job)
    assert (overview(db, batch), follow_ups(db, batch)) == ("failed", ["on_failure", "on_end"])


def test_a_member_whose_row_a_person_deletes_ends_the_batch_at_the_next_look_of_the_leader(
    db: Connection[Any],
) -> None:
    batch, _, [job] = store_row(db, {"name": "b", "jobs": items(1), **FOLLOW_UPS})
    by_delete(db, job)
    assert follow_ups(db, batch) == ["on_failure", "on_end"]
    db.execute("delete from pgqueue.nodes where id = %s", [job])
    db.execute("update pgqueue.nodes set failed = 0, members = 1 where members > 0")
    db.execute("delete from pgqueue.nodes")
    db.execute("delete from pgqueue.dependencies")
    db.execute("delete from pgqueue.workflows")


# ------------------------------------------------------------------ members


def test_members_are_in_parts_of_at_most_1000_and_in_their_order(db: Connection[Any]) -> None:
    batch = store(db, 0, open=True)
    found = add(db, batch, 2001)
    assert found == sorted(found)
    parts = "select members, unmet from pgqueue.nodes where workflow_id = %s and is_gate order by id"
    assert db.execute(parts, [batch]).fetchall() == [(1000, 1000), (1000, 1000), (1, 1)]
    numbers = db.execute("select (args ->> 'n')::int from pgqueue.jobs_live order by id").fetchall()
    assert [number for (number,) in numbers] == list(range(2001))
    add(db, batch, 1000)
    assert db.execute(parts, [batch]).fetchall()[3:] == [(1000, 1000)]
    cancel(db, batch)
    finish(db)


def test_members_have_the_options_that_their_task_declares_but_no_unique_key(db: Connection[Any]) -> None:
    options = {"queue": "mail", "max_attempts": 2, "unique": True}
    run(db, statements.sync_tasks("shop", [{"name": "t", "options": options, "keep": "all"}], 60.0))
    [one] = add(db, store(db, open=True), [{"task": "t", "max_attempts": 3}])
    assert look(db, one, "queue, max_attempts, unique_key") == ("mail", 3, None)


def test_a_member_whose_task_is_declared_later_gets_its_options_then(db: Connection[Any]) -> None:
    found = add(db, store(db, open=True), 2)
    run(db, statements.sync_tasks("shop", [{"name": "t", "options": {"queue": "mail"}, "keep": "all"}], 60.0))
    assert [look(db, job, "queue") for job in found] == ["mail", "mail"]


def test_nothing_is_left_of_a_batch_whose_transaction_is_rolled_back(db: Connection[Any]) -> None:
    with db.transaction():
        store(db, 3, at_once=2, **FOLLOW_UPS)
        raise psycopg.Rollback
    tables = ("workflows", "nodes", "dependencies", "jobs_live", "limits")
    assert [db.execute(f"select count(*) from pgqueue.{t}".encode()).fetchone() for t in tables] == [(0,)] * 5


def test_a_running_member_adds_members_to_a_sealed_batch(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 1, **FOLLOW_UPS)
    attempt = hand.claim(1)[0]
    add(db, batch, 2, member=attempt.id)
    hand.settle(attempt, COMPLETED)
    assert (overview(db, batch), counts(db, batch)) == ("running", (3, 2, 1, 0))
    assert run_all(hand) == ["on_success", "on_end"]


def test_at_most_so_many_members_run_at_once_as_at_once_says(
    db: Connection[Any], player: LimitedHand
) -> None:
    batch = store(db, 5, at_once=2)
    assert len(player.take(10)) == 2
    assert len(player.take(10)) == 0
    assert overview(db, batch, "at_once") == 2


# ------------------------------------------------------------------ trouble


def test_a_follow_up_that_cannot_be_stored_keeps_no_member_from_ending_and_is_tried_again(
    db: Connection[Any], hand: Hand
) -> None:
    batch = store(db, 1, **FOLLOW_UPS)
    db.execute(
        "create function public.refuse() returns trigger language plpgsql as $$begin raise exception 'no'; end$$;"
        "create trigger refuse before insert on pgqueue.jobs_live for each row execute function public.refuse()"
    )
    assert hand.settle(hand.claim(1)[0], COMPLETED)
    assert counts(db, batch) == (1, 0, 1, 0)
    finish(db)
    assert overview(db, batch) == "running"
    db.execute("drop trigger refuse on pgqueue.jobs_live")
    finish(db)
    assert run_all(hand) == ["on_success", "on_end"]


def test_of_two_parts_that_end_under_repeatable_read_the_leader_finds_the_end(
    db: Connection[Any], hand: Hand, connect: Any
) -> None:
    batch = store(db, 0, open=True, **FOLLOW_UPS)
    add(db, batch, 1)
    add(db, batch, 1)
    seal(db, batch)
    first, second = hand.claim(2)
    other = connect(autocommit=False)
    other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    other.execute("select 1")
    assert hand.settle(first, COMPLETED)
    run(other, statements.settle(hand.id, [(second.id, second.lease_id, COMPLETED)]))
    other.commit()
    finish(db)
    assert run_all(hand) == ["on_success", "on_end"]


# ------------------------------------------------------------------ retention


def test_a_batch_goes_with_its_limit_when_it_ended_longer_ago_than_the_retention(
    db: Connection[Any], hand: Hand
) -> None:
    store(db, 0, at_once=2)
    still_open = store(db, 0, open=True, at_once=2)
    kept = add_limit(db, key="mine", per_key=True, concurrency=1)
    db.execute("update pgqueue.workflows set created_at = now() - interval '40 days'")
    assert run(db, statements.purge_workflows(100)) == 0
    db.execute(
        "update pgqueue.workflows set ended_at = now() - interval '39 days' where ended_at is not null"
    )
    assert run(db, statements.purge_workflows(100)) == 1
    assert db.execute("select id from pgqueue.workflows").fetchall() == [(still_open,)]
    left = db.execute("select key from pgqueue.limits order by id = %s", [kept]).fetchall()
    assert left == [(f"pgqueue.batch.{still_open}",), ("mine",)]

"""Batches in the database: members are added, the batch is sealed and ends, and its follow-up jobs are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb

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
    seal,
    store,
    store_row,
    violations,
)
from tests.factories import add_limit, look, reasons
from tests.worker_by_hand import Hand, LimitedHand
from tests.workflows import DEAD, finish


@pytest.fixture(autouse=True)
def _consistent(db: Connection[Any]) -> Iterator[None]:
    """After each test, the rows of batches and jobs agree."""
    yield
    assert violations(db) == {}


def run_all(hand: Hand, outcome: Outcome = COMPLETED, count: int = 10_000) -> list[str]:
    """Runs all due jobs, and those that become due. Returns the names of the follow-up jobs that ran."""
    ran = []
    while claimed := hand.claim(count):
        for attempt in claimed:
            follow_up = attempt.job().args.get("follow_up")
            if follow_up is not None:
                ran.append(str(follow_up))
            assert hand.settle(attempt, COMPLETED if follow_up else outcome)
    return ran


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


# ------------------------------------------------------------------ refusals


def refused(db: Connection[Any], text: str, *values: object) -> tuple[str | None, str]:
    with pytest.raises(psycopg.Error) as raised:
        db.execute(text.encode(), values)
    return raised.value.sqlstate, str(raised.value.diag.message_primary).removeprefix("pgqueue: ")


ADD, SEAL = (
    'select pgqueue.add_to_batch(%s, \'[{"task": "t"}]\', %s)',
    "select pgqueue.seal_batch(%s)",
)


def test_a_sealed_batch_takes_jobs_of_none_but_its_unfinished_members(
    db: Connection[Any], hand: Hand
) -> None:
    batch, other = store(db, 2), store(db, 1)
    first, _, of_other = hand.claim(3)
    hand.settle(first, COMPLETED)
    said = f"batch {batch} is sealed, so only its own unfinished jobs can add jobs"
    for member in (None, first.id, of_other.id, 10**9):
        assert refused(db, ADD, batch, member) == ("PQ440", said)
    assert refused(db, SEAL, batch) == ("PQ440", f"batch {batch} is sealed already")
    assert overview(db, other) == "running"


def test_a_batch_that_was_cancelled_or_has_ended_takes_no_jobs(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 1, open=True)
    cancel(db, batch)
    assert refused(db, ADD, batch, None) == ("PQ440", f"batch {batch} was cancelled")
    assert refused(db, SEAL, batch) == ("PQ440", f"batch {batch} was cancelled")
    ended = store(db, 0)
    assert refused(db, ADD, ended, None) == ("PQ440", f"batch {ended} has ended")


def test_a_batch_that_does_not_exist_is_named(db: Connection[Any]) -> None:
    flow = db.execute('select id from pgqueue.enqueue_workflow(\'{"name": "w", "nodes": []}\')').fetchone()
    assert flow
    for number in (99, flow[0]):
        said = ("PQ540", f"there is no batch {number}")
        assert refused(db, ADD, number, None) == said
        assert refused(db, SEAL, number) == said
        assert refused(db, "select pgqueue.retry_members(%s, 0, null)", number) == said
        assert db.execute("select pgqueue.abandon_batch(%s)", [number]).fetchone() == (None,)


WRONG = [
    ([], "a batch is an object with a name"),
    ({}, "a batch needs a name of 1 to 255 bytes"),
    ({"name": "b", "nodes": []}, 'unknown option {"nodes": []} for a batch'),
    ({"name": "b", "key": 7}, "the key of a batch is a text of 1 to 255 bytes"),
    ({"name": "b", "at_once": 0}, "at_once is 0: give a whole number from 1 to 1000000"),
    ({"name": "b", "at_once": 1.5}, "at_once is 1.5: give a whole number from 1 to 1000000"),
    ({"name": "b", "at_once": "2"}, 'at_once is "2": give a whole number from 1 to 1000000'),
    ({"name": "b", "open": 1}, "open is true or false"),
    ({"name": "b", "jobs": {}}, "jobs is a list of objects"),
    ({"name": "b", "jobs": [7]}, "job 1 of the batch: it is no object"),
    ({"name": "b", "jobs": [{"task": "t", "unique_key": "k"}]},
     'job 1 of the batch: unknown option {"task": "t", "unique_key": "k"}'),
    ({"name": "b", "jobs": [{"task": "t", "args": []}]}, "job 1 of the batch: its args are an object"),
    ({"name": "b", "jobs": [{"task": "t", "each": {}}]}, "job 1 of the batch: each is a list of args"),
    ({"name": "b", "jobs": [{}]}, "item 1 has no task"),
    ({"name": "b", "on_end": {"task": "t", "each": []}}, "each of on_success, on_failure and on_end is one job"),
    ({"name": "b", "on_end": {"task": "t:on_dead"}}, "the name t:on_dead is reserved"),
    ({"name": "b", "on_end": 7}, "job 1 of the batch: it is no object"),
]  # fmt: skip


@pytest.mark.parametrize(("batch", "sentence"), WRONG, ids=[said for _, said in WRONG])
def test_a_batch_that_cannot_be_stored_is_refused_with_a_sentence(
    db: Connection[Any], batch: Any, sentence: str
) -> None:
    state, said = refused(db, "select pgqueue.enqueue_batch(%s)", Jsonb(batch))
    assert (state, said.replace('{"task": "t", "unique_key"', '{"unique_key"')) == (
        "PQ404", sentence.replace('{"task": "t", "unique_key"', '{"unique_key"'),
    )  # fmt: skip


def test_a_follow_up_with_a_value_of_a_wrong_type_is_refused_before_anything_is_stored(
    db: Connection[Any],
) -> None:
    batch = {"name": "b", "on_end": {"task": "t", "priority": "high"}}
    assert refused(db, "select pgqueue.enqueue_batch(%s)", Jsonb(batch))[0] == "22P02"


def test_members_of_a_batch_with_at_once_have_no_other_concurrency_key(db: Connection[Any]) -> None:
    batch = {"name": "b", "at_once": 1, "jobs": [{"task": "t", "concurrency_key": "k"}]}
    state, said = refused(db, "select pgqueue.enqueue_batch(%s)", Jsonb(batch))
    assert state == "PQ404"
    assert "has at_once, so its jobs have a concurrency_key already" in said


def test_a_second_batch_with_the_same_key_is_the_first_one(db: Connection[Any]) -> None:
    first = store_row(db, {"name": "b", "key": "k", "jobs": items(1)})
    assert first[1]
    assert store_row(db, {"name": "b", "key": "k", "jobs": items(5)}) == (first[0], False, None)
    assert store_row(db, {"name": "c", "key": "k"})[1]
    assert counts(db, first[0]) == (1, 1, 0, 0)


# ------------------------------------------------------------------ retry


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
    batch, _, ids = store_row(db, {"name": "b", "jobs": items(5), **FOLLOW_UPS})
    run_all(hand, DEAD)
    after, found = 0, []
    while (retried := run(db, statements.retry_members(batch, after, 2))).last is not None:
        found.append(retried)
        after = retried.last
    assert found == [(2, ids[1]), (2, ids[3]), (1, ids[4])]
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

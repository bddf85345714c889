"""The undo of operators' actions: what it brings back, and which jobs it leaves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import JobFilter, Who
from pgqueue.errors import InvalidOptionError
from pgqueue.model.outcome import Outcome
from pgqueue.ui.acting.operations import (
    Action,
    Operation,
)
from tests.acting_by_hand import ANN, Connect, act, audit, everything, kill, perform_all, undo
from tests.factories import add_jobs, count, enqueue, look, reasons
from tests.worker_by_hand import Hand


def test_the_undo_of_a_cancel_brings_jobs_back_as_they_were(db: Connection[Any], hand: Hand) -> None:
    retrying = enqueue(db, unique_key="k", args={"n": 1})
    [attempt] = hand.claim()
    hand.settle(attempt, Outcome.retried(3600.0, ValueError("no")))
    waiting = add_jobs(db, state="waiting")[0]
    before = {job: everything(db, job)[0][0] for job in (retrying, waiting)}
    act(db, "cancel", [retrying, waiting])
    assert undo(db) == {retrying: "undone", waiting: "undone"}
    for job, row in before.items():
        assert everything(db, job)[0][0] == {**row, "last_traceback": None}
    assert reasons(db, retrying)[-2:] == [
        ("retrying", "cancelled", "cancelled"), ("cancelled", "retrying", "undone"),
    ]  # fmt: skip
    assert audit(db)[0].undoes == audit(db)[1].id
    assert (audit(db)[1].undone, audit(db)[1].undone_by) == (2, audit(db)[0].id)


def test_the_undo_of_a_retry_makes_jobs_dead_again_as_they_were(db: Connection[Any], hand: Hand) -> None:
    [job] = add_jobs(db)
    kill(db, hand)
    before = everything(db, job)[0]
    act(db, "retry", [job])
    assert undo(db) == {job: "undone"}
    assert everything(db, job)[0] == before


def test_the_undo_of_a_delete_stores_jobs_again_with_all_that_was_known_of_them(
    db: Connection[Any], hand: Hand
) -> None:
    dead = enqueue(
        db, args={"n": 1.5, "none": None}, idempotency_key="k", tags=["a"], timeout=90, meta={"m": 1}
    )
    kill(db, hand)
    pending = enqueue(db, unique_key="u", delay=60)
    db.execute("insert into pgqueue.signals (job_id, name) values (%s, 'go')", [pending])
    db.execute(
        "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value) values (%s, 1, 1, 'step', 'a', '7')",
        [pending],
    )
    before = {job: everything(db, job) for job in (dead, pending)}
    assert act(db, "delete", [dead, pending]) == {dead: "deleted", pending: "deleted"}
    assert count(db) == count(db, "transitions") == count(db, "signals") == count(db, "checkpoints") == 0
    assert undo(db) == {dead: "undone", pending: "undone"}
    assert {job: everything(db, job) for job in (dead, pending)} == before
    assert count(db, "undo_rows") == 0


def test_the_undo_of_an_edit_gives_each_job_its_former_values(db: Connection[Any]) -> None:
    first, second = add_jobs(db, priority=1)[0], add_jobs(db, priority=2, queue="mail")[0]
    before = {job: everything(db, job)[0] for job in (first, second)}
    changes = {
        "priority": 7,
        "queue": "slow",
        "delay": 60,
        "timeout": 5,
        "expires": 90,
        "args": {"a": 1},
        "tags": ["t"],
    }
    act(db, "edit", [first, second], changes=changes)
    assert undo(db) == {first: "undone", second: "undone"}
    assert {job: everything(db, job)[0] for job in (first, second)} == before


def test_the_undo_of_run_now_gives_jobs_their_times_back(db: Connection[Any]) -> None:
    [job] = add_jobs(db, run_at="2030-01-01 00:00+00")
    act(db, "run_now", [job])
    assert undo(db) == {job: "undone"}
    assert look(db, job, "run_at::text") == "2030-01-01 00:00:00+00"


def test_an_undo_leaves_jobs_that_have_moved_on_and_says_which(db: Connection[Any], hand: Hand) -> None:
    first, second, third = add_jobs(db, count=3)
    kill(db, hand)
    act(db, "retry", [first, second, third])
    [claimed] = hand.claim(1)
    assert claimed.id == first
    act(db, "cancel", [second])
    assert undo(db, audit(db)[1].id) == {first: "running", second: "cancelled", third: "undone"}
    assert audit(db)[0].refused == {"running": 1, "cancelled": 1}


def test_the_undo_of_an_edit_leaves_a_job_that_was_edited_again(db: Connection[Any]) -> None:
    [job] = add_jobs(db)
    act(db, "edit", [job], changes={"priority": 7})
    act(db, "edit", [job], changes={"priority": 8})
    assert undo(db, audit(db)[1].id) == {job: "moved on"}
    assert look(db, job, "priority") == 8


def test_the_undo_of_a_delete_leaves_a_job_whose_keys_are_taken(db: Connection[Any]) -> None:
    jobs = [enqueue(db, unique_key="u"), enqueue(db, idempotency_key="i")]
    act(db, "delete", jobs)
    enqueue(db, unique_key="u")
    enqueue(db, idempotency_key="i")
    assert undo(db) == {jobs[0]: "unique_key", jobs[1]: "idempotency_key"}
    refused, deleted = audit(db)
    assert (refused.action, refused.refused) == ("undo", {"unique_key": 1, "idempotency_key": 1})
    assert (deleted.undone, deleted.undone_by) == (0, None)


def test_the_row_of_a_refused_undo_names_the_action_and_not_its_slice(db: Connection[Any]) -> None:
    add_jobs(db, count=2)
    operation = Operation(Action(name="cancel", who=ANN, which=JobFilter(queue="default")))
    perform_all(db, operation)
    db.execute("select pgqueue.revive(id) from pgqueue.jobs")
    undo(db, operation.progress.audit_id)
    [refused, *_] = audit(db, action="undo")
    assert (refused.undoes, refused.about["id"]) == (operation.progress.audit_id, operation.progress.audit_id)


def test_two_undos_at_the_same_time_bring_all_jobs_back(db: Connection[Any], connect: Connect) -> None:
    jobs = add_jobs(db, count=300)
    act(db, "cancel", jobs)
    [row] = audit(db)
    start = threading.Barrier(3)

    def undo_alone(name: str) -> str:
        own = connect()
        start.wait(30)
        try:
            run(own, statements.undo(row.id, Who(name, "web")))
        except InvalidOptionError:
            return "refused"
        return "undone"

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(undo_alone, ("ann", "bob", "eve"))) == ["refused", "refused", "undone"]
    assert {look(db, job) for job in jobs} == {"pending"}


def test_jobs_that_were_locked_during_an_undo_are_undone_by_the_next_one(
    db: Connection[Any], connect: Connect
) -> None:
    jobs = add_jobs(db, count=3)
    act(db, "cancel", jobs)
    [row] = audit(db)
    other = connect(autocommit=False)
    other.execute("select from pgqueue.jobs where id = %s for update", [jobs[1]])
    assert undo(db) == {jobs[0]: "undone", jobs[1]: "locked", jobs[2]: "undone"}
    other.rollback()
    [first] = audit(db, audit_id=row.id)
    assert (first.undone, first.undo_until is not None) == (2, True)
    assert {one.job_id: one.result for one in run(db, statements.undo(row.id, ANN))} == {jobs[1]: "undone"}
    [last] = audit(db, audit_id=row.id)
    assert (last.undone, last.undo_until) == (3, None)
    assert {look(db, job) for job in jobs} == {"pending"}
    with pytest.raises(InvalidOptionError, match="was undone already"):
        run(db, statements.undo(row.id, ANN))


def test_an_action_is_undone_once_and_only_within_its_time(db: Connection[Any]) -> None:
    first, second = add_jobs(db, count=2)
    act(db, "cancel", [first])
    [row] = audit(db)
    undo(db)
    with pytest.raises(InvalidOptionError, match="was undone already"):
        run(db, statements.undo(row.id, ANN))
    run(db, statements.act("cancel", [second], Who("ann", "web", undo_for=0)))
    with pytest.raises(InvalidOptionError, match="can no longer be undone"):
        run(db, statements.undo(audit(db)[0].id, ANN))
    with pytest.raises(InvalidOptionError, match="there is no action 99"):
        run(db, statements.undo(99, ANN))
    assert run(db, statements.list_undoable(row.id)) == []


def test_upkeep_deletes_what_undos_no_longer_need_and_old_actions(db: Connection[Any]) -> None:
    first, second = add_jobs(db, count=2)
    run(db, statements.act("cancel", [first], Who("ann", "web", undo_for=0)))
    act(db, "cancel", [second])
    assert run(db, statements.purge_audit(3600, 100)) == (1, 0)
    db.execute("update pgqueue.audit set at = at - interval '2 h'")
    assert run(db, statements.purge_audit(3600, 100)) == (0, 2)

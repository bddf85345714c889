"""Operators' actions on many jobs: they work in slices, say when they stop and why, and one job does not hold up the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import JobFilter
from pgqueue.errors import DatabaseUnreachableError, SchemaMissingError
from pgqueue.ui.acting.operations import (
    Action,
    Operation,
    preview_statement,
)
from pgqueue.ui.acting.performing import end_row, perform
from pgqueue.ui.acting.undoing import Undo
from pgqueue.ui.reading.audit import sentence
from tests.acting_by_hand import ANN, DEAD, act, audit, perform_all, undo
from tests.factories import add_jobs, count, enqueue
from tests.worker_by_hand import Hand


def test_an_operation_works_in_slices_and_is_one_action_in_the_audit(db: Connection[Any]) -> None:
    jobs = add_jobs(db, count=1200, queue="mail")
    add_jobs(db)
    operation = Operation(Action(name="cancel", who=ANN, which=JobFilter(queue="mail")))
    assert {one.id for one in perform_all(db, operation)} == set(jobs)
    [row] = audit(db)
    assert (row.changed, row.seen, row.slices, row.ended, row.about) == (
        1200, 1200, 3, True,
        {"queue": "mail", "limit": 1_000_000, "states": ["pending", "running", "retrying", "waiting"]},
    )  # fmt: skip
    assert operation.progress.audit_id == row.id
    assert operation.progress.changed == 1200
    assert len(run(db, statements.list_audited_jobs(row.id, count=2000))) == 1200
    undone = undo(db)
    assert set(undone.values()) == {"undone"}
    assert len(undone) == 1200
    assert audit(db, audit_id=row.id)[0].undone == 1200
    assert db.execute("select count(*) from pgqueue.jobs_live where state = 'pending'").fetchone() == (1201,)


def test_an_operation_whose_doer_has_stopped_does_not_go_on(db: Connection[Any]) -> None:
    jobs = add_jobs(db, count=1200)
    begun = perform(db, Operation(Action(name="cancel", who=ANN, ids=jobs)))
    next(begun)
    [row] = audit(db)
    assert (row.ended, row.stopped, sentence(row)) == (False, None, "500 jobs cancelled, and it goes on")
    db.execute("update pgqueue.audit set at = at - interval '3 minutes'")
    [row] = audit(db)
    assert (row.ended, row.stopped) == (False, "the process that did it is gone")
    assert sentence(row) == "500 jobs cancelled, and it stopped before its end"
    assert len(undo(db)) == 500
    assert db.execute("select count(*) from pgqueue.jobs_live where state = 'pending'").fetchone() == (1200,)


def test_an_operation_that_fails_half_way_says_at_once_why(db: Connection[Any]) -> None:
    jobs = add_jobs(db, count=1200)
    begun = perform(db, Operation(Action(name="cancel", who=ANN, ids=jobs)))
    next(begun)
    db.execute("alter table pgqueue.jobs rename to gone")
    with pytest.raises(SchemaMissingError):
        list(begun)
    db.execute("alter table pgqueue.gone rename to jobs")
    [row] = audit(db)
    assert (row.ended, row.changed, row.undo_until is not None) == (True, 500, True)
    assert row.stopped is not None
    assert "does not exist" in row.stopped
    assert sentence(row) == "500 jobs cancelled, and it stopped before its end"
    assert len(undo(db, row.id)) == 500


def test_an_operation_that_is_interrupted_says_at_once_that_it_was(db: Connection[Any]) -> None:
    begun = perform(db, Operation(Action(name="cancel", who=ANN, ids=add_jobs(db, count=1200))))
    next(begun)
    begun.close()
    [row] = audit(db)
    assert (row.ended, row.stopped) == (True, "it was interrupted")


def test_an_operation_whose_connection_is_lost_says_what_was_done_and_where_to_look(
    db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    own = connect()
    operation = Operation(Action(name="cancel", who=ANN, ids=add_jobs(db, count=1200)))
    begun = perform(own, operation)
    next(begun)
    db.execute("select pg_terminate_backend(%s, 10000)", [own.info.backend_pid])
    with pytest.raises(DatabaseUnreachableError, match="500 jobs had been changed before") as lost:
        list(begun)
    assert f"pgq audit show {operation.progress.audit_id}" in lost.value.do
    assert operation.open_row is not None, "another connection can write how it ended"
    end_row(db, operation, lost.value)
    assert "terminating connection" in (audit(db)[0].stopped or "")


def test_an_undo_of_several_slices_shows_that_it_goes_on_and_what_it_has_left(db: Connection[Any]) -> None:
    jobs = add_jobs(db, count=1200)
    perform_all(db, Operation(Action(name="cancel", who=ANN, ids=jobs)))
    [row] = audit(db)
    steps = Undo(row.id, ANN)
    db.execute("delete from pgqueue.jobs_done where id = %s", [jobs[0]])
    begun = perform(db, steps)
    next(begun)
    undoing, cancelled = audit(db)
    assert (cancelled.is_undoing, cancelled.undone_by, undoing.ended) == (True, undoing.id, False)
    list(begun)
    undone, cancelled = audit(db)
    assert (undone.ended, undone.changed, undone.refused, undone.undoes) == (
        True,
        1199,
        {"not found": 1},
        row.id,
    )
    assert (cancelled.is_undoing, cancelled.undone, cancelled.undone_by) == (False, 1199, undone.id)
    assert steps.left == {"not found": 1}


def test_a_cancel_that_was_only_requested_promises_no_undo(db: Connection[Any]) -> None:
    running = enqueue(db)
    Hand(db, ["t"]).claim()
    act(db, "cancel", [running])
    assert audit(db)[0].undo_until is None
    act(db, "cancel", [running, enqueue(db)])
    assert audit(db)[0].undo_until is not None


def test_an_operation_stops_at_its_limit(db: Connection[Any]) -> None:
    add_jobs(db, count=700)
    operation = Operation(Action(name="cancel", who=ANN, which=JobFilter(queue="default"), limit=600))
    assert len(perform_all(db, operation)) == 600
    assert count(db, "jobs_live") == 100


def test_one_job_that_fails_does_not_hold_up_the_others(db: Connection[Any]) -> None:
    jobs = add_jobs(db, count=50)
    db.execute(
        "create function public.refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$"
    )
    db.execute(
        f"create trigger refuse before delete on pgqueue.jobs_live for each row when (old.id = {jobs[20]}) execute function public.refuse()".encode()
    )
    found = perform_all(db, Operation(Action(name="cancel", who=ANN, ids=jobs)))
    assert [one.id for one in found if not one.is_done] == [jobs[20]]
    assert [one.result for one in found if not one.is_done] == ["refused: not this one"]
    assert len(found) == 50
    [row] = audit(db)
    assert row.changed == 49
    assert row.ended


def test_one_locked_job_does_not_hold_up_the_others(
    db: Connection[Any], connect: Callable[..., Connection[Any]]
) -> None:
    first, second = add_jobs(db, count=2)
    other = connect(autocommit=False)
    other.execute("select from pgqueue.jobs_live where id = %s for update", [first])
    found = {
        one.id: one.result
        for one in perform_all(db, Operation(Action(name="cancel", who=ANN, ids=[first, second])))
    }
    assert found == {first: "locked", second: "cancelled"}


def test_an_action_that_fails_for_every_job_is_tried_with_few_jobs_only(db: Connection[Any]) -> None:
    jobs = add_jobs(db, count=400)
    operation = Operation(Action(name="edit", who=ANN, ids=jobs, changes={"priority": 40_000}))
    sent = 0
    original = operation.next_statement

    def counted() -> Any:
        nonlocal sent
        sent += 1
        return original()

    operation.next_statement = counted  # type: ignore[method-assign]
    with pytest.raises(Exception, match="out of range"):
        perform_all(db, operation)
    assert sent < 30


def test_a_dry_run_says_what_would_happen_and_changes_nothing(db: Connection[Any]) -> None:
    jobs = add_jobs(db, count=3)
    found = perform_all(db, Operation(Action(name="delete", who=ANN, ids=jobs), dry_run=True))
    assert [one.result for one in found] == ["deleted"] * 3
    assert count(db) == 3
    assert audit(db) == []


def test_a_preview_counts_what_an_action_would_change_and_refuse(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db, count=3)
    hand.claim(1)
    dead = [enqueue(db, unique_key="a")]
    hand.settle(next(one for one in hand.claim() if one.id == dead[0]), DEAD)
    enqueue(db, unique_key="a")
    every = JobFilter(task="t", states=["pending", "running", "dead"])
    shown = run(db, preview_statement(Action(name="retry", who=ANN, which=every)))
    assert shown.counts == {}
    assert shown.refused == {"running": 3, "pending": 1, "unique_key": 1}
    shown = run(db, preview_statement(Action(name="cancel", who=ANN, which=JobFilter(task="t"), limit=2)))
    assert shown.changes == 2
    assert not shown.more


def test_a_preview_counts_up_to_its_bound_and_says_that_there_are_more(db: Connection[Any]) -> None:
    add_jobs(db, count=10_050)
    shown = run(db, preview_statement(Action(name="cancel", who=ANN, which=JobFilter(queue="default"))))
    assert shown.more
    assert shown.changes == 10_001

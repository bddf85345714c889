"""Operators' actions on jobs: what they change, what they refuse, what they write into the audit, and how they are undone."""

from __future__ import annotations

import ast
import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from inspect import signature
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import JobFilter, Who
from pgqueue.database.statements.actions import AuditRow
from pgqueue.errors import DatabaseUnreachableError, InvalidOptionError, SchemaMissingError
from pgqueue.model.outcome import Outcome
from pgqueue.model.schedule import Schedule
from pgqueue.ui.acting.acts import ACTS
from pgqueue.ui.acting.doing import set_setting
from pgqueue.ui.acting.form import Form
from pgqueue.ui.acting.operations import (
    Action,
    Changed,
    Operation,
    preview_statement,
)
from pgqueue.ui.acting.performing import end_row, perform
from pgqueue.ui.acting.undoing import Undo
from pgqueue.ui.reading.audit import sentence
from tests import batches, workflows
from tests.factories import add_jobs, count, enqueue, look, reasons
from tests.package import MODULES
from tests.worker_by_hand import Hand

Connect = Callable[..., "Connection[Any]"]
ANN = Who("ann", "cli")
DEAD = Outcome.dead("permanent_error", ValueError("boom"))


def act(db: Connection[Any], name: Any, ids: list[int], **options: Any) -> dict[int | None, str]:
    """Does an action, and returns what it did with each job."""
    return {job: result for _, job, result in run(db, statements.act(name, ids, ANN, **options))}


def audit(db: Connection[Any], **which: Any) -> list[AuditRow]:
    return run(db, statements.list_audit(**which))


def undo(db: Connection[Any], audit_id: int | None = None) -> dict[int | None, str]:
    """Undoes an action, by default the last one, and returns what that did with each job."""
    chosen = audit_id or audit(db)[0].id
    return {job: result for part in perform(db, Undo(chosen, ANN)) for _, job, result in part}


def kill(db: Connection[Any], hand: Hand) -> list[int]:
    """Makes all due jobs dead, and returns their ids."""
    claimed = hand.claim(1000)
    assert all(hand.settle(attempt, DEAD) for attempt in claimed)
    return sorted(attempt.id for attempt in claimed)


def everything(db: Connection[Any], job_id: int) -> list[Any]:
    """Returns all that is stored about a job, as JSON."""
    return db.execute(
        "select to_jsonb(j) from pgqueue.jobs j where j.id = %(id)s"
        " union all select to_jsonb(t) from (select * from pgqueue.transitions where reason <> 'undone' order by at) t where t.job_id = %(id)s"
        " union all select to_jsonb(c) from pgqueue.checkpoints c where c.job_id = %(id)s"
        " union all select to_jsonb(s) - 'id' from pgqueue.signals s where s.job_id = %(id)s"
        " union all select to_jsonb(k) from pgqueue.idempotency_keys k where k.job_id = %(id)s",
        {"id": job_id},
    ).fetchall()


# ------------------------------------------------------------------ each action


def test_a_cancel_ends_jobs_that_do_not_run_and_asks_the_others_to_stop(
    db: Connection[Any], hand: Hand
) -> None:
    first, second, third = add_jobs(db, count=3)
    [running] = hand.claim(1)
    assert act(db, "cancel", [first, second, third]) == {
        first: "requested", second: "cancelled", third: "cancelled",
    }  # fmt: skip
    assert running.id == first
    [row] = audit(db)
    assert (row.actor, row.source, row.action, row.changed, row.seen) == ("ann", "cli", "cancel", 3, 3)
    assert row.about == {"ids": [first, second, third]}
    assert row.undo_until is not None


def test_a_retry_revives_dead_and_cancelled_jobs_and_refuses_all_others(
    db: Connection[Any], hand: Hand
) -> None:
    [dead] = add_jobs(db)
    kill(db, hand)
    cancelled, pending = add_jobs(db, count=2)
    act(db, "cancel", [cancelled])
    assert act(db, "retry", [dead, cancelled, pending, 999]) == {
        dead: "revived", cancelled: "revived", pending: "pending", 999: "not found",
    }  # fmt: skip
    assert audit(db)[0].refused == {"pending": 1, "not found": 1}


def test_a_retry_refuses_a_job_whose_unique_key_another_job_has(db: Connection[Any], hand: Hand) -> None:
    dead = [enqueue(db, unique_key="a"), enqueue(db, unique_key="b")]
    kill(db, hand)
    enqueue(db, unique_key="a")
    assert act(db, "retry", dead) == {dead[0]: "unique_key", dead[1]: "revived"}


def test_an_action_that_changes_nothing_writes_no_audit(db: Connection[Any]) -> None:
    assert act(db, "cancel", [999]) == {999: "not found"}
    assert audit(db) == []


def test_run_now_makes_waiting_times_shorter_and_refuses_jobs_that_wait_for_something_else(
    db: Connection[Any], hand: Hand
) -> None:
    late, due = add_jobs(db, run_at="2030-01-01")[0], add_jobs(db)[0]
    [running] = hand.claim(1)
    assert act(db, "run_now", [late, due]) == {late: "due", due: "running"}
    assert running.id == due
    assert [attempt.id for attempt in hand.claim(5)] == [late]


def test_an_edit_writes_the_names_of_secret_changes_but_not_their_values(db: Connection[Any]) -> None:
    [job] = add_jobs(db)
    changes = {"args": {"token": "s3cr3t"}, "queue": "mail", "priority": -5}
    assert act(db, "edit", [job], changes=changes) == {job: "edited"}
    assert look(db, job, "queue, priority, args") == ("mail", -5, {"token": "s3cr3t"})
    assert audit(db)[0].after == {"args": "changed", "queue": "mail", "priority": -5}


def test_a_delete_leaves_nothing_of_a_job_when_its_undo_is_given_up(db: Connection[Any], hand: Hand) -> None:
    job = enqueue(db, args={"secret": "CANARY"}, idempotency_key="k")
    act(db, "edit", [job], changes={"args": {"secret": "CANARY-2"}})
    db.execute("insert into pgqueue.signals (job_id, name, payload) values (%s, 's', '\"CANARY\"')", [job])
    kill(db, hand)
    assert act(db, "delete", [job], forget=True) == {job: "deleted"}
    assert everything(db, job) == []
    for table in ("audit", "undo_rows"):
        rows = db.execute(f"select to_jsonb(t)::text from pgqueue.{table} t".encode()).fetchall()
        assert "CANARY" not in str(rows)
    assert audit(db)[0].undo_until is None


def test_a_delete_refuses_running_jobs_and_nodes(db: Connection[Any], hand: Hand) -> None:
    [running] = add_jobs(db)
    hand.claim(1)
    [node] = add_jobs(db)
    db.execute("update pgqueue.jobs_live set workflow_id = 1 where id = %s", [node])
    assert act(db, "delete", [running, node]) == {running: "running", node: "node"}
    assert count(db) == 2


def test_an_action_with_states_leaves_a_job_that_has_another_state_by_then(
    db: Connection[Any], hand: Hand
) -> None:
    [job] = add_jobs(db)
    hand.claim(1)
    assert act(db, "cancel", [job], states=["pending"]) == {job: "running"}
    assert look(db, job, "cancel_requested") is False


@pytest.mark.parametrize(
    ("name", "ids", "options"),
    [("explode", [1], {}), ("cancel", [], {}), ("cancel", [1] * 1001, {}), ("edit", [1], {}),
     ("cancel", [1], {"changes": {"priority": 1}})],
)  # fmt: skip
def test_a_wrong_call_is_refused(db: Connection[Any], name: Any, ids: list[int], options: Any) -> None:
    with pytest.raises(InvalidOptionError):
        act(db, name, ids, **options)


# ------------------------------------------------------------------ undo


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


# ------------------------------------------------------------------ many jobs


def perform_all(db: Connection[Any], operation: Operation) -> list[Changed]:
    return [one for part in perform(db, operation) for one in part]


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


# ------------------------------------------------------------------ rights


def test_an_operator_acts_and_undoes_but_cannot_change_what_the_audit_says(
    granted: Callable[..., str], db: Connection[Any], hand: Hand
) -> None:
    dead = [enqueue(db, unique_key="k", idempotency_key="i"), enqueue(db)]
    kill(db, hand)
    pending, edited = add_jobs(db, count=2)
    db.execute("insert into pgqueue.signals (job_id, name) values (%s, 'go')", [pending])
    db.execute(
        "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value) values (%s, 1, 1, 'step', 'a', '7')",
        [pending],
    )
    with psycopg.connect(granted("operator"), autocommit=True) as operator:
        for name, ids, changes in (
            ("retry", dead, None), ("cancel", [pending], None), ("edit", [edited], {"priority": 3}),
            ("run_now", [edited], None), ("delete", [*dead, pending, edited], None),
        ):  # fmt: skip
            found = act(operator, name, ids, changes=changes)
            assert "undone" in undo(operator).values(), (name, found)
        act(operator, "delete", [pending], forget=True)
        rows = audit(operator)
        assert {row.role for row in rows} == {operator.info.user}
        for statement in (
            "update pgqueue.audit set actor = 'bob'", "delete from pgqueue.audit", "truncate pgqueue.audit",
            "insert into pgqueue.audit (actor, source, action, about, role) values ('a', 'cli', 'b', '{}', 'postgres')",
            "insert into pgqueue.audit (actor, source, action, about, at) values ('a', 'cli', 'b', '{}', now())",
            "update pgqueue.undo_rows set before = '{}'",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                operator.execute(statement.encode())
    assert len(rows) == 11


@pytest.mark.parametrize("kind", ["reader", "enqueuer", "worker"])
def test_no_other_role_can_write_the_audit(
    granted: Callable[..., str], db: Connection[Any], kind: str
) -> None:
    [job] = add_jobs(db)
    with psycopg.connect(granted(kind), autocommit=True) as other:
        for statement in (
            "insert into pgqueue.audit (actor, source, action, about) values ('ann', 'cli', 'pause', '{}')",
            "select pgqueue.note_action('{\"action\": \"pause\"}', '{}')",
            "update pgqueue.audit set actor = 'bob'",
            f"select * from pgqueue.act('cancel', array[{job}::bigint])",
            "insert into pgqueue.undo_rows values (1, 1, '{}')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute(statement.encode())
    assert look(db, job) == "pending"


def test_a_role_that_only_reads_sees_the_audit(granted: Callable[..., str], db: Connection[Any]) -> None:
    act(db, "cancel", add_jobs(db))
    with psycopg.connect(granted("reader"), autocommit=True) as reader:
        assert [row.action for row in audit(reader)] == ["cancel"]


# ------------------------------------------------------------------ queues, limits, schedules, workflows


LIMIT: dict[str, Any] = {
    "queue": "mail", "task": None, "per_key": False, "key": None, "concurrency": 5, "rate": None, "period": None, "sliding": False,
    "burst": None, "share": None,
}  # fmt: skip


def paused(db: Connection[Any], table: str) -> Any:
    row = db.execute(f"select paused from pgqueue.{table} where name = 'mail'".encode()).fetchone()
    return row and row[0]


def test_a_pause_and_a_resume_of_a_queue_are_audited_and_undone(db: Connection[Any]) -> None:
    run(db, statements.pause_queue("mail", who=ANN))
    assert undo(db) == {None: "undone"}
    assert paused(db, "queues") is False
    run(db, statements.pause_queue("mail", who=ANN))
    run(db, statements.resume_queue("mail", who=ANN))
    assert undo(db) == {None: "undone"}
    assert paused(db, "queues") is True
    assert [row.action for row in audit(db)] == ["undo", "resume", "pause", "undo", "pause"]
    assert (audit(db)[1].about, audit(db)[1].before, audit(db)[1].after) == (
        {"queue": "mail"}, {"paused": True}, {"paused": False},
    )  # fmt: skip


def test_an_undo_leaves_a_queue_that_was_resumed_meanwhile(db: Connection[Any]) -> None:
    run(db, statements.pause_queue("mail", who=ANN))
    run(db, statements.resume_queue("mail"))
    assert undo(db) == {None: "moved on"}
    refused, paused = audit(db)
    assert (refused.undoes, refused.refused, sentence(refused)) == (
        paused.id, {"moved on": 1}, "nothing undone: 1 (it has moved on)",
    )  # fmt: skip
    assert paused.undo_until is not None
    assert undo(db, paused.id) == {None: "moved on"}


def test_changes_of_limits_are_undone(db: Connection[Any]) -> None:
    rows = "select concurrency, rate, extract(epoch from period)::int, burst from pgqueue.limits"
    number = run(db, statements.set_limit(**LIMIT, who=ANN))
    assert undo(db) == {None: "undone"}
    assert db.execute(rows).fetchall() == []
    number = run(db, statements.set_limit(**LIMIT, who=ANN))
    run(db, statements.set_limit(**{**LIMIT, "rate": 10, "period": 60.0, "burst": 3}, who=ANN))
    assert undo(db) == {None: "undone"}
    assert db.execute(rows).fetchall() == [(5, None, None, None)]
    run(db, statements.remove_limit(number, who=ANN))
    assert undo(db) == {None: "undone"}
    assert db.execute(rows).fetchall() == [(5, None, None, None)]


def test_what_is_done_with_schedules_is_audited(db: Connection[Any]) -> None:
    schedule = Schedule(name="mail", task="t", cron="0 2 * * *")
    run(db, statements.add_schedule(schedule, who=ANN))
    run(db, statements.pause_schedule("mail", True, who=ANN))
    assert undo(db) == {None: "undone"}
    assert paused(db, "schedules") is False
    job = run(db, statements.run_schedule("mail", who=ANN))
    run(db, statements.edit_schedule(replace(schedule, cron="0 3 * * *"), who=ANN))
    run(db, statements.remove_schedule("mail", who=ANN))
    assert [row.action for row in reversed(audit(db))] == [
        "add_schedule", "pause_schedule", "undo", "run_schedule", "edit_schedule", "remove_schedule",
    ]  # fmt: skip
    assert [row.action for row in audit(db, job_id=job)] == ["run_schedule"]
    edited = audit(db)[1]
    assert (edited.before or {})["cron"] == "0 2 * * *"
    assert (edited.after or {})["cron"] == "0 3 * * *"
    with pytest.raises(InvalidOptionError, match="cannot be undone"):
        run(db, statements.undo(audit(db)[0].id, ANN))


def test_what_is_done_with_workflows_batches_alerts_signals_and_steps_is_audited(
    db: Connection[Any], hand: Hand
) -> None:
    flow = workflows.store(db, workflows.node("a"), workflows.node("b", "a"))
    batch = batches.store(db, 2)
    job = enqueue(db)
    [(alert,)] = db.execute(
        "insert into pgqueue.alerts (kind, subject, text) values ('late', 'mail', 'late') returning id"
    ).fetchall()
    db.execute(
        "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value) values (%s, 1, 1, 'step', 'a', '7')",
        [job],
    )
    for statement in (
        statements.cancel_workflow(flow, who=ANN), statements.cancel_workflow(flow, who=ANN), statements.retry_workflow(flow, None, who=ANN),
        statements.cancel_workflow(batch, who=ANN), statements.retry_members(batch, 0, 10, who=ANN),
        statements.mute_alert(alert, 60.0, who=ANN), statements.resolve_alert(alert, who=ANN), statements.resolve_alert(alert, who=ANN),
        statements.signal(job, "go", '{"secret": "CANARY"}', who=ANN), statements.forget_step(job, "a", "", who=ANN),
        statements.remove_queue("default", who=ANN), statements.remove_queue("none", who=ANN),
    ):  # fmt: skip
        run(db, statement)
    db.execute("insert into pgqueue.queues (name) values ('mistyped')")
    run(db, statements.remove_queue("mistyped", who=ANN))
    assert [row.action for row in reversed(audit(db))] == [
        "cancel_workflow", "retry_workflow", "cancel_workflow", "retry_batch", "mute_alert", "resolve_alert", "signal",
        "forget_step", "remove_queue",
    ]  # fmt: skip
    assert "CANARY" not in str(audit(db))
    assert [row.action for row in audit(db, job_id=job)] == ["forget_step", "signal"]


def test_what_an_application_does_writes_no_audit(app: App, db: Connection[Any]) -> None:
    job = app.handle(enqueue(db))
    job.edit(priority=3)
    job.signal("go")
    job.cancel()
    job.revive()
    run(db, statements.pause_queue("mail"))
    assert audit(db) == []


@pytest.mark.parametrize("action", ["pause", "resolve_alert", "cancel_batch"])
def test_two_simultaneous_actions_of_one_person_each_find_their_own_row(
    action: str, db: Connection[Any], dsn: str
) -> None:
    field, values = {
        "pause": ("queue", ["mail", "shop"]),
        "resolve_alert": ("id", [str(alert) for (alert,) in db.execute(
            "insert into pgqueue.alerts (kind, subject, text) values ('late', 'a', 'late'), ('late', 'b', 'late') returning id")]),
        "cancel_batch": ("batch", [str(batches.store(db, 2)) for _ in range(2)]),
    }[action]  # fmt: skip
    ann = Who("ann", "web")

    async def one(value: str) -> int | None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            return await set_setting(
                connection, Form({"action": [action], field: [value]}), ACTS[action], ann
            )

    async def both() -> list[int | None]:
        return await asyncio.gather(*map(one, values))

    for value, row in zip(values, asyncio.run(both()), strict=True):
        [noted] = audit(db, audit_id=row)
        assert value in map(str, noted.about.values())


def test_a_change_of_nothing_has_no_row(db: Connection[Any], dsn: str) -> None:
    batch = batches.store(db, 2)
    ann = Who("ann", "web")

    async def twice() -> list[int | None]:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            form = Form({"action": ["cancel_batch"], "batch": [str(batch)]})
            return [await set_setting(connection, form, ACTS["cancel_batch"], ann) for _ in range(2)]

    done, again = asyncio.run(twice())
    assert done is not None
    assert again is None


def test_every_command_that_changes_something_says_who_acts() -> None:
    """Each call of a statement that takes ``who`` gives it, and no surface calls the SQL API of jobs directly."""
    takes_who = {
        name for name in statements.__all__ if "who" in signature(getattr(statements, name)).parameters
    }
    assert len(takes_who) > 20
    for module, tree in MODULES.items():
        if not module.startswith("ui/"):
            continue
        for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
            if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "statements":
                name = call.func.attr
                given = {keyword.arg for keyword in call.keywords}
                positional = {"act", "undo", "begin_operation", "end_operation", "note_import"}
                assert name not in takes_who - positional or "who" in given, (module, call.lineno, name)
                assert name not in {"cancel", "revive", "edit"}, (module, call.lineno, name)

"""A role with exactly the rights of an operator can run each command about long work, and SQL that writes needs no more rights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection
from typer.testing import CliRunner

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.suspension import Request
from pgqueue.ui.cli.commands import root
from tests import batches
from tests.worker_by_hand import Hand
from tests.workflows import finish, group, ids, node, overview, states, store, violations

Granted = Callable[..., str]
UNDO = {"task": "t"}


def pgq(dsn: str, *words: object) -> str:
    done = CliRunner().invoke(root(), [*map(str, words), "--dsn", dsn])
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.output


def suspend(hand: Hand, request: Request) -> int:
    """Suspends the only due job, and returns its id."""
    [attempt] = hand.claim()
    items = [(attempt.id, attempt.lease_id, Outcome.suspended((request,)))]
    assert run(hand.db, statements.suspend(hand.id, items)) == [attempt.id]
    return attempt.id


def gathering(db: Connection[Any]) -> tuple[int, int]:
    """Stores a job that waits for two children. Returns the job's id, and the id of the workflow of the children."""
    [(parent,)] = db.execute("insert into pgqueue.jobs (task) values ('parent') returning id").fetchall()
    flow = store(db, node("a"), node("b"), group("all", "a", "b"))
    run(db, statements.adopt_children(flow, parent))
    suspend(Hand(db, ["parent"]), Request("wait", "wait:all", "", None, (f"gather:{flow}",)))
    return parent, flow


@pytest.mark.parametrize("what", ["jobs", "workflows"])
def test_an_operator_who_cancels_all_children_of_a_job_lets_the_job_go_on(
    granted: Granted, db: Connection[Any], what: str
) -> None:
    parent, flow = gathering(db)
    children = [ids(db, flow)[name] for name in ("a", "b")]
    pgq(granted("operator"), what, "cancel", *(children if what == "jobs" else [flow]))
    assert states(db, flow) == {"a": "cancelled", "b": "cancelled", "all": "dead"}
    assert db.execute("select state from pgqueue.jobs where id = %s", [parent]).fetchone() == ("pending",)


def test_an_operator_who_retries_the_children_of_a_cancelled_job_revives_the_job(
    granted: Granted, db: Connection[Any]
) -> None:
    dsn = granted("operator")
    parent, flow = gathering(db)
    pgq(dsn, "jobs", "cancel", parent)
    finish(db)
    assert states(db, flow) == {"a": "cancelled", "b": "cancelled", "all": "dead"}
    pgq(dsn, "workflows", "retry", flow)
    finish(db)
    assert states(db, flow) == {"a": "pending", "b": "pending", "all": "waiting"}
    assert db.execute("select state from pgqueue.jobs where id = %s", [parent]).fetchone() == ("pending",)


def test_an_operator_changes_nodes_and_workflows(granted: Granted, db: Connection[Any], hand: Hand) -> None:
    dsn = granted("operator")
    flow = store(
        db, node("a", undo=UNDO), node("bad", "a"), node("b", "bad"), node("tell", "bad", when="failed")
    )
    for attempt in hand.claim():
        hand.settle(attempt, COMPLETED)
    pgq(dsn, "jobs", "edit", ids(db, flow)["bad"], "--priority", 3)
    pgq(dsn, "jobs", "cancel", ids(db, flow)["bad"])
    assert states(db, flow) == {"a": "completed", "bad": "cancelled", "b": "cancelled", "tell": "pending"}
    pgq(dsn, "jobs", "revive", ids(db, flow)["bad"])
    pgq(dsn, "jobs", "cancel", ids(db, flow)["bad"])
    pgq(dsn, "workflows", "retry", flow, "bad")
    pgq(dsn, "jobs", "cancel", ids(db, flow)["bad"])
    pgq(dsn, "workflows", "retry", flow)
    pgq(dsn, "workflows", "cancel", flow)
    assert overview(db, flow) == "undoing"
    assert "undo of a" in pgq(dsn, "workflows", "show", flow)
    assert str(flow) in pgq(dsn, "workflows", "list")
    assert violations(db) == {}


def test_an_operator_changes_batches(granted: Granted, db: Connection[Any], hand: Hand) -> None:
    dsn = granted("operator")
    ended = batches.store(db, 2, **batches.FOLLOW_UPS)
    opened, sealed = batches.store(db, 1, open=True), batches.store(db, 1, open=True)
    members = db.execute("select id from pgqueue.jobs_live where workflow_id = %s", [ended]).fetchall()
    pgq(dsn, "jobs", "cancel", *(member for (member,) in members))
    assert db.execute("select count(*) from pgqueue.nodes where rank between 1 and 3").fetchone() == (2,)
    pgq(dsn, "batches", "retry", ended)
    pgq(dsn, "batches", "cancel", opened)
    pgq(dsn, "batches", "seal", sealed)
    batches.run_all(hand)
    pgq(dsn, "batches", "retry", opened)
    assert [batches.overview(db, batch) for batch in (ended, opened, sealed)] == [
        "completed",
        "running",
        "completed",
    ]
    assert "pending" in pgq(dsn, "batches", "show", opened)
    assert str(ended) in pgq(dsn, "batches", "list")


def test_an_operator_sends_signals_and_forgets_steps(
    granted: Granted, db: Connection[Any], hand: Hand
) -> None:
    dsn = granted("operator")
    db.execute("insert into pgqueue.jobs (task) values ('t')")
    job_id = suspend(hand, Request("wait", "wait:go", "", None, ("go",)))
    db.execute("update pgqueue.jobs_live set version = 1")
    assert "wait:go" in pgq(dsn, "jobs", "steps", job_id)
    pgq(dsn, "jobs", "signal", job_id, "go", '{"by": "ann"}')
    pgq(dsn, "jobs", "forget-step", job_id, "wait:go")
    found = db.execute(
        "select state, version, (select count(*) from pgqueue.checkpoints) from pgqueue.jobs_live"
    )
    assert found.fetchone() == ("pending", None, 0)


def test_an_operator_removes_queues_and_makes_and_runs_schedules(
    granted: Granted, db: Connection[Any]
) -> None:
    dsn = granted("operator")
    db.execute("insert into pgqueue.queues (name) values ('mistyped')")
    pgq(dsn, "queues", "remove", "mistyped")
    pgq(dsn, "cron", "add", "s", "t", "--every", "60s")
    pgq(dsn, "cron", "edit", "s", "--every", "90s")
    for options in (
        '{"throttle": 60, "unique_key": "k"}',
        '{"debounce": 60, "unique_key": "k"}',
        '{"idempotency_key": "k"}',
    ):
        db.execute("update pgqueue.schedules set options = %s", [options])
        pgq(dsn, "cron", "run", "s")
    assert db.execute("select count(*) from pgqueue.jobs_live").fetchone() == (3,)

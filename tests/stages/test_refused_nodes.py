"""The database refuses a change of one node, because of a trigger or a CHECK of the user. Whatever ended before it stays ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App, Job
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.telemetry.events import subscribed
from pgqueue.telemetry.events.database import JobPassedOver, WorkflowPassedOver
from pgqueue.ui.cli.doctor import examine
from pgqueue.worker.worker import Worker
from tests import batches, noted_runs
from tests.apps import gathering_tasks
from tests.factories import look
from tests.failing_rows import refuse
from tests.leaders import lead
from tests.stages.gathered import enqueue, run_children_by_hand, started, work
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, group, ids, node, overview, run_due, states, store, violations

ODD = {"tags": ["odd"]}  # the trigger of ``refuse`` raises an error for jobs that have a tag
ASSERTED = "P0004"  # the code of ASSERT, which OTHERS of PL/pgSQL does not include
CODES = ["P0001", ASSERTED, "23514", "57P01", "40001", "55P03"]


@pytest.fixture
def hand(db: Connection[Any]) -> Hand:
    return Hand(db, ["t"])


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with the notes of the handlers. The app of ``gathering_tasks`` uses the test's database."""
    with noted_runs.noted(gathering_tasks.app, tmp_path, dsn, monkeypatch) as path:
        yield path


@pytest.fixture
def said() -> Iterator[list[Any]]:
    """What the leader emits about nodes and workflows that it passes over."""
    said: list[Any] = []
    with subscribed(JobPassedOver, said.append), subscribed(WorkflowPassedOver, said.append):
        yield said


def mend(db: Connection[Any], table: str = "pgqueue.jobs_live") -> None:
    db.execute(f"drop trigger no on {table}".encode())


def errors(db: Connection[Any], workflow: int) -> dict[str, str]:
    return dict(
        db.execute(
            "select name, error from pgqueue.nodes where workflow_id = %s and error is not null", [workflow]
        ).fetchall()
    )


@pytest.mark.parametrize("code", CODES)
def test_a_node_completes_although_the_release_of_one_behind_it_is_refused(
    db: Connection[Any], dsn: str, hand: Hand, said: list[Any], code: str
) -> None:
    flow = store(db, node("a"), node("b", "a"), node("bad", "a", **ODD), node("c", "a"), node("d", "bad"))
    refuse(db, code, "update")
    assert len(hand.complete_nodes(*hand.claim())) == 1
    assert states(db, flow) == {
        "a": "completed",
        "b": "pending",
        "bad": "waiting",
        "c": "pending",
        "d": "waiting",
    }
    lead(dsn)
    lead(dsn)
    assert {fact.job_id for fact in said} == {ids(db, flow)["bad"]}
    assert "its job could not be released: not this one" in said[0].why
    mend(db)
    lead(dsn)
    assert states(db, flow)["bad"] == "pending"
    assert errors(db, flow) == {}
    run_due(db, hand)
    assert overview(db, flow) == "completed"
    assert violations(db) == {}


def test_results_that_a_check_does_not_accept_as_arguments_refuse_only_their_node(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, node("a"), node("bad", results={"x": "a"}), node("b", results={"y": "a"}))
    db.execute("alter table pgqueue.jobs_live add check (args ->> 'x' is distinct from 'no')")
    [attempt] = hand.claim()
    hand.complete_nodes(attempt, results={attempt.id: '"no"'})
    assert states(db, flow) == {"a": "completed", "bad": "waiting", "b": "pending"}
    assert "violates check constraint" in errors(db, flow)["bad"]


def test_of_many_nodes_that_are_released_together_each_one_that_is_refused_is_found(
    db: Connection[Any], hand: Hand
) -> None:
    bad = {3, 4, 64, 99}
    flow = store(
        db,
        node("a"),
        group("g", "a"),
        *[node(f"n{n}", "g", **(ODD if n in bad else {})) for n in range(100)],
    )
    refuse(db, "P0001", "update")
    assert hand.settle(hand.claim()[0], COMPLETED)
    waiting = {name for name, state in states(db, flow).items() if state == "waiting"}
    assert waiting == {f"n{n}" for n in bad} == set(errors(db, flow))


def test_the_search_for_refused_nodes_leaves_the_rest_to_the_leader_if_it_takes_long(
    db: Connection[Any], dsn: str, hand: Hand
) -> None:
    """A trigger can wait for a lock before it fails, and the statement has locked all of these nodes."""
    flow = store(db, node("a"), *[node(f"n{n}", "a", **(ODD if n < 8 else {})) for n in range(16)])
    refuse(db, "P0001", "update", rows="old.tags <> '{}' and pg_sleep(0.7) is not null")
    assert hand.settle(hand.claim()[0], COMPLETED)
    assert db.execute("select count(*) = 16 from pgqueue.unresolved").fetchone() == (True,)
    mend(db)
    lead(dsn)
    assert set(states(db, flow).values()) == {"completed", "pending"}
    assert errors(db, flow) == {}


def test_a_node_dies_although_the_end_of_one_behind_it_is_refused(
    db: Connection[Any], dsn: str, hand: Hand, said: list[Any]
) -> None:
    flow = store(db, node("a"), node("b", "a"), node("bad", "a", **ODD), node("c", "bad"))
    attempts = hand.claim()
    refuse(db, "P0001", "delete")
    assert hand.settle(attempts[0], DEAD)
    assert states(db, flow) == {"a": "dead", "b": "cancelled", "bad": "waiting", "c": "waiting"}
    lead(dsn)
    assert "its job could not be ended: not this one" in said[0].why
    mend(db)
    lead(dsn)
    assert states(db, flow) == {"a": "dead", "b": "cancelled", "bad": "cancelled", "c": "cancelled"}
    assert errors(db, flow)["bad"] == "A node that it waits for did not complete."
    assert violations(db) == {}


@pytest.mark.parametrize("itself", [False, True])
def test_a_handler_runs_once_although_the_release_of_the_next_node_is_refused(
    db: Connection[Any], dsn: str, itself: bool
) -> None:
    app, ran = App(dsn), []

    @app.task(name="t")
    def t(job: Job) -> None:
        ran.append(job.id)
        if itself:
            with job.transaction():
                pass

    flow = store(db, node("a"), node("b", "a", **ODD))
    refuse(db, "23514", "update", rows="old.tags <> '{}'")
    settings = WorkerSettings(queues={"default": None}, drain=True, poll=0.1, executor="thread")
    for _ in range(2):
        Worker(app, settings, app_path=None).run()
    assert ran == [ids(db, flow)["a"]]
    assert states(db, flow) == {"a": "completed", "b": "waiting"}


def test_children_complete_although_their_parent_cannot_be_woken(
    path: Path, db: Connection[Any], dsn: str, said: list[Any]
) -> None:
    job_id = enqueue("gathering", numbers=[2, 3])
    started(db, job_id)
    refuse(db, ASSERTED, "update", rows=f"old.id = {job_id}")
    run_children_by_hand(db, Outcome.completed("4"))
    assert look(db, job_id, "state") == "waiting"
    assert db.execute("select count(*) from pgqueue.jobs_done where task = 'square'").fetchone() == (2,)
    lead(dsn)
    assert "the job that waits for it could not go on: not this one" in said[0].why
    found = run(db, statements.why(job_id))
    assert found.reason == "signal"
    assert "could not go on: not this one" in found.sentence
    mend(db)
    lead(dsn)
    assert look(db, job_id, "state") == "pending"
    work(db, job_id)
    assert look(db, job_id, "state, result") == ("completed", [4, 4])


def test_the_end_of_a_batch_that_is_refused_is_reported_by_the_leader(
    db: Connection[Any], dsn: str, hand: Hand, said: list[Any]
) -> None:
    batch = batches.store(db, 1, on_end={"task": "t"})
    refuse(db, ASSERTED, "insert", rows="true")
    assert hand.settle(hand.claim()[0], COMPLETED)
    lead(dsn)
    assert "its batch could not be ended: not this one" in said[0].why
    mend(db)
    lead(dsn)
    assert batches.overview(db, batch) == "completed"


def test_an_undo_that_is_refused_is_reported_by_the_leader(
    db: Connection[Any], dsn: str, hand: Hand, said: list[Any]
) -> None:
    flow = store(db, node("a", undo={"task": "t"}), node("bad", "a"))
    refuse(db, ASSERTED, "insert", rows="true")
    run_due(db, hand, {"bad": DEAD})
    lead(dsn)
    assert "the undo of the workflow could not be stored: not this one" in said[0].why
    mend(db)
    lead(dsn)
    run_due(db, hand)
    assert overview(db, flow) == "undone"


def test_a_cancel_ends_the_other_nodes_although_the_end_of_one_is_refused(
    db: Connection[Any], dsn: str, said: list[Any]
) -> None:
    flow = store(db, node("a"), node("bad", **ODD), node("c", "a"))
    refuse(db, ASSERTED, "delete")
    assert db.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone() == ("requested",)
    assert states(db, flow) == {"a": "cancelled", "bad": "pending", "c": "cancelled"}
    with pytest.raises(psycopg.errors.AssertFailure, match="not this one"):
        db.execute("select pgqueue.cancel_workflow(%s)", [flow])
    lead(dsn)
    assert [fact.workflow_id for fact in said] == [flow]
    mend(db)
    lead(dsn)
    assert overview(db, flow) == "cancelled"
    assert violations(db) == {}


def test_a_cancel_asks_the_other_running_nodes_to_stop_although_one_cannot_be_asked(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, node("a"), node("bad", **ODD), node("c"), node("d"))
    hand.claim(3)
    refuse(db, "P0001", "update")
    assert db.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone() == ("requested",)
    asked = "select n.name from pgqueue.jobs_live l join pgqueue.nodes n using (id) where l.cancel_requested order by 1"
    assert db.execute(asked).fetchall() == [("a",), ("c",)]
    assert states(db, flow) == {"a": "running", "bad": "running", "c": "running", "d": "cancelled"}


def test_why_and_doctor_say_what_refuses_the_release_of_a_node(
    db: Connection[Any], dsn: str, hand: Hand
) -> None:
    flow = store(db, node("a"), node("bad", "a", **ODD))
    refuse(db, "P0001", "update")
    hand.complete_nodes(*hand.claim())
    found = run(db, statements.why(ids(db, flow)["bad"]))
    assert found.reason == "refused"
    assert (
        found.sentence
        == f"It is node bad of workflow {flow}. Left to the leader: its job could not be released: not this one"
    )
    assert "the leader tries again" in found.do
    with psycopg.connect(dsn, autocommit=True) as own:
        [finding] = [one for one in examine(own, dsn) if one.what.startswith("Workflow")]
    assert finding.level == "error"
    assert f"node bad ({ids(db, flow)['bad']})" in finding.what
    assert "its job could not be released: not this one" in finding.what

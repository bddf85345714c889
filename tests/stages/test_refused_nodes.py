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
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import subscribed
from pgqueue.telemetry.events.database import NodeRefused, WorkflowPassedOver
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
    with subscribed(NodeRefused, said.append), subscribed(WorkflowPassedOver, said.append):
        yield said


def mend(db: Connection[Any], table: str = "pgqueue.jobs_live") -> None:
    db.execute(f"drop trigger no on {table}".encode())


def errors(db: Connection[Any], workflow: int) -> dict[str, str]:
    return dict(
        db.execute(
            "select n.name, u.error from pgqueue.unresolved u join pgqueue.nodes n on n.id = u.node_id where n.workflow_id = %s",
            [workflow],
        ).fetchall()
    )


def refusals(db: Connection[Any], workflow: int) -> dict[str, str]:
    """Returns what `pgq workflows show` draws."""
    return {one.name: one.refusal for one in run(db, statements.list_nodes(workflow)) if one.refusal}


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
    assert {fact.node_id for fact in said} == {ids(db, flow)["bad"]}
    assert "Its job could not be released: not this one" in said[0].why
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


SLOWLY = "old.tags <> '{}' and pg_sleep(0.7) is not null"  # as if the trigger had waited for a lock


@pytest.mark.parametrize("bad", [{0}, {9}, {15}, {0, 1, 2}, {1, 8, 14}], ids=str)
def test_nodes_go_on_although_others_that_are_released_with_them_are_refused_slowly(
    db: Connection[Any], dsn: str, hand: Hand, bad: set[int]
) -> None:
    flow = store(db, node("a"), *[node(f"n{n}", "a", **(ODD if n in bad else {})) for n in range(16)])
    refuse(db, "P0001", "update", rows=SLOWLY)
    began = monotonic()
    assert hand.settle(hand.claim()[0], COMPLETED)
    assert monotonic() - began < 4
    waiting = {name for name, state in states(db, flow).items() if state == "waiting"}
    assert set(errors(db, flow)) == waiting  # each of them says why it does not go on
    assert len(waiting) < 16 or bad == {0, 1, 2}  # then all the time is used up before a good one
    lead(dsn, turns=2)
    assert {name for name, state in states(db, flow).items() if state == "waiting"} == {f"n{n}" for n in bad}
    assert all("not this one" in error for error in errors(db, flow).values())
    mend(db)
    lead(dsn)
    assert set(states(db, flow).values()) == {"completed", "pending"}
    assert errors(db, flow) == {}


def test_a_turn_of_the_leader_goes_on_behind_the_refused_nodes_that_the_turn_before_tried(
    db: Connection[Any], dsn: str, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn tries two refused nodes here, and all of these stand in front."""
    monkeypatch.setattr("pgqueue.maintenance.workflows.LONGEST_TURN", 1.0)
    monkeypatch.setattr("pgqueue.maintenance.workflows.LONG", 0.5)
    flow = store(db, node("a"), *[node(f"n{n}", "a", **(ODD if n < 6 else {})) for n in range(16)])
    refuse(db, "P0001", "update", rows=SLOWLY)
    assert hand.settle(hand.claim()[0], COMPLETED)
    assert "could not be released: not this one" in errors(db, flow)["n1"]
    assert "has not tried it yet, because another node took long: not this one" in errors(db, flow)["n5"]
    lead(dsn, turns=8)
    assert list(states(db, flow).values()) == ["completed"] + ["waiting"] * 6 + ["pending"] * 10


def test_a_node_dies_although_the_end_of_one_behind_it_is_refused(
    db: Connection[Any], dsn: str, hand: Hand, said: list[Any]
) -> None:
    flow = store(db, node("a"), node("b", "a"), node("bad", "a", **ODD), node("c", "bad"))
    attempts = hand.claim()
    refuse(db, "P0001", "delete")
    assert hand.settle(attempts[0], DEAD)
    assert states(db, flow) == {"a": "dead", "b": "cancelled", "bad": "waiting", "c": "waiting"}
    lead(dsn)
    assert "Its job could not be ended: not this one" in said[0].why
    mend(db)
    lead(dsn)
    assert states(db, flow) == {"a": "dead", "b": "cancelled", "bad": "cancelled", "c": "cancelled"}
    assert db.execute("select error from pgqueue.nodes where name = 'bad'").fetchone() == (
        "A node that it waits for did not complete.",
    )
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
    assert "The parent could not go on: not this one" in said[0].why
    found = run(db, statements.why(job_id))
    assert found.reason == "signal"
    assert "Its children have ended. The parent could not go on: not this one" in found.sentence
    assert refusals(db, int(found.do.split()[-1])) == {"children": "The parent could not go on: not this one"}
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
    assert "Its batch could not be ended: not this one" in said[0].why
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
    assert "The undo of the workflow could not be stored: not this one" in said[0].why
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


@pytest.mark.parametrize("bad", [{0}, {9}, {0, 1, 2, 3}], ids=str)
def test_a_cancel_ends_what_it_can_although_the_end_of_some_nodes_is_refused_slowly(
    db: Connection[Any], dsn: str, said: list[Any], bad: set[int]
) -> None:
    flow = store(db, *[node(f"n{n}", **(ODD if n in bad else {})) for n in range(16)])
    refuse(db, "P0001", "delete", rows=SLOWLY)
    began = monotonic()
    assert db.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone() == ("requested",)
    assert monotonic() - began < 4
    lead(dsn, turns=3)
    assert {name for name, state in states(db, flow).items() if state == "pending"} == {f"n{n}" for n in bad}
    assert {fact.workflow_id for fact in said} == {flow}
    mend(db)
    lead(dsn, turns=2)
    assert overview(db, flow) == "cancelled"
    assert violations(db) == {}


def test_a_cancel_tries_a_job_alone_although_the_first_refusal_took_all_its_time(db: Connection[Any]) -> None:
    flow = store(db, *[node(f"n{n}", **(ODD if n == 9 else {})) for n in range(16)])
    refuse(db, "P0001", "delete", rows="old.tags <> '{}' and pg_sleep(2.1) is not null")
    assert db.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone() == ("requested",)
    assert list(states(db, flow).values()).count("cancelled") > 0


def test_members_of_a_batch_are_cancelled_although_many_before_them_are_refused(
    db: Connection[Any], dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgqueue.maintenance.workflows.CANCELLED_AT_ONCE", 3)
    batch = batches.store(db, 10)
    db.execute(
        "update pgqueue.jobs_live set tags = '{odd}' where id in (select id from pgqueue.jobs_live order by id limit 7)"
    )
    db.execute("update pgqueue.workflows set stop_reason = 'workflow_cancelled' where id = %s", [batch])
    refuse(db, "P0001", "delete")
    lead(dsn, turns=4)
    assert db.execute("select count(*), bool_and(tags = '{odd}') from pgqueue.jobs_live").fetchone() == (
        7,
        True,
    )
    mend(db)
    lead(dsn, turns=2)
    assert batches.overview(db, batch) == "cancelled"


def test_why_and_doctor_say_what_refuses_the_release_of_a_node(
    db: Connection[Any], dsn: str, hand: Hand
) -> None:
    flow = store(db, node("a"), node("bad", "a", **ODD))
    refuse(db, "P0001", "update")
    hand.complete_nodes(*hand.claim())
    found = run(db, statements.why(ids(db, flow)["bad"]))
    assert found.reason == "refused"
    assert found.sentence == f"It is node bad of workflow {flow}. Its job could not be released: not this one"
    assert "the leader tries again" in found.do
    assert refusals(db, flow) == {"bad": "Its job could not be released: not this one"}
    with psycopg.connect(dsn, autocommit=True) as own:
        [finding] = [one for one in examine(own, dsn) if one.what.startswith("Workflow")]
    assert finding.level == "error"
    assert f"node bad ({ids(db, flow)['bad']})" in finding.what
    assert "Its job could not be released: not this one" in finding.what

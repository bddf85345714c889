"""The leader does what was left of workflows. If the statements fail for one node or one workflow, it does the rest nevertheless."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED
from pgqueue.telemetry.events import subscribed
from pgqueue.telemetry.events.database import NodeRefused, TurnFailed, WorkflowPassedOver
from tests.failing_rows import PASSING, refuse
from tests.leaders import lead
from tests.worker_by_hand import Hand
from tests.workflows import ids, node, states, store

ODD = {"tags": ["odd"]}  # the trigger of ``refuse`` raises an error for jobs that have a tag


@pytest.fixture
def said() -> Iterator[list[Any]]:
    """What is emitted about failures."""
    said: list[Any] = []
    with (
        subscribed(NodeRefused, said.append),
        subscribed(WorkflowPassedOver, said.append),
        subscribed(TurnFailed, said.append),
    ):
        yield said


def left_to_the_leader(
    db: Connection[Any], connect: Callable[..., Connection[Any]], flows: Sequence[int]
) -> None:
    """Completes the nodes a of these workflows while another transaction has locked their nodes b, so that these are left to the leader."""
    other = connect(autocommit=False)
    other.execute("select from pgqueue.jobs_live where state = 'waiting' for update")
    hand = Hand(db, ["t"])
    while claimed := hand.claim(100):
        for attempt in claimed:
            hand.settle(attempt, COMPLETED)
    other.rollback()
    assert db.execute("select count(*) from pgqueue.unresolved").fetchone() == (len(flows),)


@pytest.mark.parametrize("code", ["P0001", "23514", *PASSING[:2]])
def test_a_node_whose_release_fails_does_not_keep_other_nodes_from_being_released(
    db: Connection[Any], dsn: str, connect: Callable[..., Connection[Any]], said: list[Any], code: str
) -> None:
    bad, good = store(db, node("a"), node("b", "a", **ODD)), store(db, node("a"), node("b", "a"))
    left_to_the_leader(db, connect, [bad, good])
    refuse(db, code, "update")
    lead(dsn)
    assert [states(db, flow)["b"] for flow in (bad, good)] == ["waiting", "pending"]
    lead(dsn)
    assert any(isinstance(fact, NodeRefused) and fact.node_id == ids(db, bad)["b"] for fact in said)
    db.execute("drop trigger no on pgqueue.jobs_live")
    lead(dsn)
    assert states(db, bad)["b"] == "pending"


def test_many_nodes_whose_release_fails_do_not_stand_in_front_of_one_that_can_be_released(
    db: Connection[Any], dsn: str, connect: Callable[..., Connection[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgqueue.maintenance.workflows.RESOLVED_AT_ONCE", 5)
    flows = [store(db, node("a"), node("b", "a", **(ODD if n < 12 else {}))) for n in range(13)]
    left_to_the_leader(db, connect, flows)
    refuse(db, "57014", "update")  # SQL cannot catch this error, so the leader itself looks for the nodes
    lead(dsn, turns=3)
    assert states(db, flows[-1])["b"] == "pending"


def test_children_and_stopped_workflows_end_although_no_node_can_be_released(
    db: Connection[Any], dsn: str, connect: Callable[..., Connection[Any]], said: list[Any]
) -> None:
    left_to_the_leader(db, connect, [store(db, node("a"), node("b", "a"))])
    children, stopped = store(db, node("a", delay=60)), store(db, node("a", delay=60))
    run(db, statements.adopt_children(children, 1))
    db.execute("update pgqueue.workflows set stop_reason = 'workflow_cancelled' where id = %s", [stopped])
    refuse(db, "P0001", "delete", "pgqueue.unresolved", "true")
    lead(dsn)
    assert [states(db, flow) for flow in (children, stopped)] == [{"a": "cancelled"}] * 2
    assert any(isinstance(fact, TurnFailed) for fact in said)


@pytest.mark.parametrize("code", ["P0001", "57014"])
def test_a_workflow_that_cannot_be_stopped_does_not_keep_later_ones_from_being_stopped(
    db: Connection[Any], dsn: str, said: list[Any], code: str
) -> None:
    bad, good = store(db, node("a", **ODD)), store(db, node("a"))
    db.execute("update pgqueue.workflows set stop_reason = 'workflow_cancelled'")
    refuse(db, code, "delete")
    lead(dsn, turns=2)
    assert [states(db, flow)["a"] for flow in (bad, good)] == ["pending", "cancelled"]
    assert [fact.workflow_id for fact in said if isinstance(fact, WorkflowPassedOver)] == [bad]


def test_a_node_that_cannot_be_ended_does_not_keep_later_nodes_without_jobs_from_being_ended(
    db: Connection[Any], dsn: str, said: list[Any]
) -> None:
    bad, good = store(db, node("a"), node("b", "a", **ODD)), store(db, node("a"), node("b", "a"))
    db.execute("delete from pgqueue.jobs_live where state = 'pending'")
    refuse(db, "P0001", "update", "pgqueue.nodes", f"old.id = {ids(db, bad)['a']}")
    lead(dsn, turns=2)
    assert [states(db, flow)["b"] for flow in (bad, good)] == ["waiting", "cancelled"]
    assert [fact.node_id for fact in said if isinstance(fact, NodeRefused)] == [ids(db, bad)["a"]]

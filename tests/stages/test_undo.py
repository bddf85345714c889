"""Workflows that fail or are cancelled are undone: one job for each completed node that has an undo, last ended first, each exactly once."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import look
from tests.worker_by_hand import Hand
from tests.workflows import (
    DEAD,
    finish,
    group,
    ids,
    node,
    overview,
    run_due,
    states,
    store,
    store_row,
    violations,
)

CHAIN = "select name, undoes, state from pgqueue.workflow_nodes where workflow_id = %s and undoes is not null order by rank"


@pytest.fixture
def hand(db: Connection[Any]) -> Hand:
    return Hand(db, ["t", "u"])


def undoable(name: str, *after: str, **options: Any) -> dict[str, Any]:
    return node(name, *after, undo={"task": "u", **options.pop("undo", {})}, **options)


def order() -> list[dict[str, Any]]:
    return [
        undoable("held"),
        undoable("paid", "held"),
        undoable("sent", "paid"),
        node("told", "sent", when="failed"),
    ]


def chain(db: Connection[Any], flow: int) -> list[tuple[str, str, str]]:
    """Returns (name, name of the node that it undoes, state) of each job that undoes a node, in the order of the chain."""
    return db.execute(CHAIN, [flow]).fetchall()


def clean(db: Connection[Any]) -> bool:
    return violations(db) == {}


def test_the_completed_nodes_of_a_failed_workflow_are_undone_the_last_one_first(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, *order())
    ran = run_due(db, hand, {"sent": DEAD})
    assert ran == ["held", "paid", "sent", "told", "undo of paid", "undo of held"]
    assert chain(db, flow) == [("undo of paid", "paid", "completed"), ("undo of held", "held", "completed")]
    assert overview(db, flow, "state, nodes, completed, dead") == ("undone", 4, 3, 1)
    assert look(db, ids(db, flow)["undo of paid"], "task, state") == ("u", "completed")
    assert clean(db)


def test_the_order_of_the_undo_is_the_order_in_which_the_nodes_ended(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, *(undoable(name) for name in "abcd"), node("bad", "a", "b", "c", "d"))
    attempts = {attempt.id: attempt for attempt in hand.claim()}
    numbers = ids(db, flow)
    for name in "cadb":
        assert hand.settle(attempts[numbers[name]], COMPLETED)
    assert run_due(db, hand, {"bad": DEAD}) == ["bad", *(f"undo of {name}" for name in "bdac")]


def test_a_handle_sees_the_undo_as_a_part_of_the_workflow_but_not_as_one_of_its_nodes(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, undoable("a"), node("bad", "a"))
    [attempt] = hand.claim()
    assert hand.settle(attempt, COMPLETED)
    [attempt] = hand.claim()
    assert hand.settle(attempt, DEAD)
    going = run(db, statements.get_workflow(flow))
    assert going is not None
    assert (going.state, going.is_over, going.nodes) == ("undoing", False, 2)
    assert going.counts == {"completed": 1, "dead": 1}
    assert going.last_open == ids(db, flow)["undo of a"]
    assert [end.name for end in run(db, statements.list_ends(flow, after=None, count=10))] == ["a", "bad"]
    assert [made.name for made in run(db, statements.list_nodes(flow))] == ["a", "bad", "undo of a"]
    assert run_due(db, hand) == ["undo of a"]
    over = run(db, statements.get_workflow(flow))
    assert over is not None
    assert (over.state, over.is_over, over.ended_at is not None) == ("undone", True, True)


def test_a_workflow_that_completes_is_not_undone(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, *order())
    assert run_due(db, hand) == ["held", "paid", "sent"]
    assert chain(db, flow) == []
    assert overview(db, flow, "state, undone_at") == ("completed", None)
    assert clean(db)


def test_a_workflow_without_an_undo_has_no_hidden_node(db: Connection[Any]) -> None:
    flow = store(db, node("a"), node("b", "a", undo=None))
    assert sorted(ids(db, flow)) == ["a", "b"]
    with_undo = store(db, undoable("a"), name="other")
    assert sorted(ids(db, with_undo)) == ["a", "pgqueue.rest"]
    assert states(db, with_undo) == {"a": "pending"}, "the view does not show the hidden gate"
    assert overview(db, with_undo, "nodes, open") == (1, 1)


def test_the_ids_of_a_stored_workflow_leave_out_hidden_nodes(db: Connection[Any]) -> None:
    flow, _, numbers = store_row(db, *order(), key="k")
    assert store_row(db, *order(), key="k") == (flow, False, numbers)
    assert len(numbers) == 4


def test_nothing_is_undone_while_a_node_is_open(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, undoable("a"), node("bad"), node("slow"))
    claimed = {attempt.id: attempt for attempt in hand.claim()}
    numbers = ids(db, flow)
    assert hand.settle(claimed[numbers["a"]], COMPLETED)
    assert hand.settle(claimed[numbers["bad"]], DEAD)
    assert chain(db, flow) == []
    assert hand.settle(claimed[numbers["slow"]], Outcome.retried(0.0, ValueError("x")))
    assert chain(db, flow) == []
    assert run_due(db, hand) == ["slow", "undo of a"]


def test_a_failure_without_a_completed_node_that_can_be_undone_undoes_nothing_and_can_be_retried(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, undoable("a"), node("b"))
    run_due(db, hand, {"a": DEAD})
    assert overview(db, flow, "state, undone_at") == ("failed", None)
    assert db.execute("select pgqueue.retry_workflow(%s)", [flow]).fetchone() is not None
    assert run_due(db, hand) == ["a"]
    assert overview(db, flow) == "completed"
    assert clean(db)


@pytest.mark.parametrize("on_failure", ["cancel", "stop", "continue"])
def test_each_policy_comes_to_rest_before_the_undo(db: Connection[Any], hand: Hand, on_failure: str) -> None:
    flow = store(
        db, undoable("a"), node("bad", "a"), undoable("c", "bad"), node("d", "a"), on_failure=on_failure
    )
    ran = run_due(db, hand, {"bad": DEAD})
    finish(db)
    ran += run_due(db, hand)
    assert ran[-1] == "undo of a"
    assert ("undo of c" in ran) == (on_failure == "continue")
    assert overview(db, flow) == "undone"
    assert clean(db)


def test_an_undo_that_dies_is_a_dead_letter_and_the_others_go_on(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, *order())
    assert run_due(db, hand, {"sent": DEAD, "undo of paid": DEAD})[-2:] == ["undo of paid", "undo of held"]
    assert overview(db, flow) == "undo_failed"
    number = ids(db, flow)["undo of paid"]
    assert db.execute("select id from pgqueue.dead_letters where id = %s", [number]).fetchall() == [(number,)]
    assert run(db, statements.revive(number)) == "revived"
    assert overview(db, flow) == "undoing"
    assert run_due(db, hand) == ["undo of paid"]
    assert overview(db, flow) == "undone"
    assert clean(db)


def test_an_undo_gets_the_results_of_its_node_and_of_earlier_ones(db: Connection[Any], hand: Hand) -> None:
    flow = store(
        db, node("held"),
        undoable("paid", "held", undo={"args": {"oid": 7}, "queue": "default", "results": {"receipt": "paid", "ref": "held"}}),
        node("bad", "paid"),
    )  # fmt: skip
    outcomes = {"held": Outcome.completed('{"ref": 1}'), "paid": Outcome.completed('"r-1"'), "bad": DEAD}
    assert run_due(db, hand, outcomes) == ["held", "paid", "bad", "undo of paid"]
    args = look(db, ids(db, flow)["undo of paid"], "args")
    assert args == {"oid": 7, "receipt": "r-1", "ref": {"ref": 1}}


def test_an_undo_has_the_options_that_it_was_given_and_those_that_its_task_declares(
    db: Connection[Any], hand: Hand
) -> None:
    db.execute(
        "insert into pgqueue.tasks (name, app, options, keep, digest) values ('u', 'a', '{\"queue\": \"undo\", \"max_attempts\": 2}', 'all', '')"
    )
    flow = store(db, undoable("a", undo={"priority": 5}), node("bad", "a"))
    run_due(db, hand, {"bad": DEAD})
    assert look(db, ids(db, flow)["undo of a"], "queue, max_attempts, priority, state") == (
        "undo",
        2,
        5,
        "pending",
    )


def test_a_cancelled_workflow_is_undone_and_the_undo_cannot_be_cancelled_with_it(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, *order())
    [attempt] = hand.claim()
    assert hand.settle(attempt, COMPLETED)
    cancel = "select pgqueue.cancel_workflow(%s)"
    assert db.execute(cancel, [flow]).fetchone() == ("cancelled",)
    assert overview(db, flow) == "undoing"
    assert db.execute(cancel, [flow]).fetchone() == ("ended",)
    finish(db)
    assert run_due(db, hand) == ["undo of held"]
    assert overview(db, flow) == "undone"
    assert clean(db)


@pytest.mark.parametrize("outcome", [COMPLETED, Outcome.cancelled("asked")])
def test_a_workflow_whose_last_node_runs_when_it_is_cancelled_is_undone_when_that_node_has_ended(
    db: Connection[Any], hand: Hand, outcome: Outcome
) -> None:
    flow = store(db, undoable("a"), undoable("b", "a"), node("told", "b", when="failed"))
    [attempt] = hand.claim()
    assert hand.settle(attempt, COMPLETED)
    [attempt] = hand.claim()
    assert db.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone() == ("requested",)
    assert chain(db, flow) == []
    assert hand.settle(attempt, outcome)
    names = ["undo of b", "undo of a"] if outcome is COMPLETED else ["undo of a"]
    assert run_due(db, hand) == names
    assert overview(db, flow) == "undone"
    finish(db)
    assert clean(db)


def test_an_undone_workflow_cannot_be_retried_and_the_error_names_it(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, *order())
    run_due(db, hand, {"sent": DEAD})
    for call in (
        f"retry_workflow({flow})",
        f"retry_workflow({flow}, 'sent')",
        f"revive({ids(db, flow)['sent']})",
    ):
        with pytest.raises(psycopg.Error, match=f"workflow {flow} cannot run again, because it was undone"):
            db.execute(f"select pgqueue.{call}".encode())
    with pytest.raises(psycopg.Error, match="has no node undo of paid"):
        db.execute("select pgqueue.retry_workflow(%s, 'undo of paid')", [flow])
    assert clean(db)


def test_a_node_retried_before_the_workflow_is_at_rest_prevents_the_undo(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, undoable("a"), node("bad", "a"), node("slow"))
    claimed = {attempt.id: attempt for attempt in hand.claim()}
    numbers = ids(db, flow)
    assert hand.settle(claimed[numbers["a"]], COMPLETED)
    [bad] = hand.claim()
    assert hand.settle(bad, DEAD)
    assert db.execute("select pgqueue.retry_workflow(%s, 'bad')", [flow]).fetchone() == (1,)
    assert hand.settle(claimed[numbers["slow"]], COMPLETED)
    assert run_due(db, hand) == ["bad"]
    assert overview(db, flow, "state, undone_at") == ("completed", None)
    assert clean(db)


def test_a_completed_workflow_whose_node_is_retried_and_dies_is_undone(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, undoable("a"), undoable("b", "a"))
    run_due(db, hand)
    assert db.execute("select pgqueue.retry_workflow(%s, 'b', again => true)", [flow]).fetchone() == (1,)
    assert run_due(db, hand, {"b": DEAD}) == ["b", "undo of a"]
    assert overview(db, flow) == "undone"
    assert clean(db)


def test_the_undo_waits_for_all_retried_nodes_of_a_completed_workflow(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, undoable("a"), undoable("b"), undoable("c"))
    run_due(db, hand)
    for name in "ab":
        assert db.execute("select pgqueue.retry_workflow(%s, %s, true)", [flow, name]).fetchone() == (1,)
    attempts = {attempt.id: attempt for attempt in hand.claim()}
    assert hand.settle(attempts[ids(db, flow)["a"]], DEAD)
    assert chain(db, flow) == []
    assert hand.settle(attempts[ids(db, flow)["b"]], COMPLETED)
    assert run_due(db, hand) == ["undo of b", "undo of c"]
    assert clean(db)


def test_many_nodes_rest_behind_gates_of_a_hundred(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, *(undoable(f"n{n}") for n in range(250)), node("bad"), group("all", "n1", "n2"))
    gates = "select name, unmet from pgqueue.nodes where workflow_id = %s and undoes <= 0 order by rank"
    assert db.execute(gates, [flow]).fetchall() == [
        ("pgqueue.rest.1", 100), ("pgqueue.rest.2", 100), ("pgqueue.rest.3", 51), ("pgqueue.rest", 3),
    ]  # fmt: skip
    ran = run_due(db, hand, {"bad": DEAD})
    assert len(ran) == 251 + 250
    assert overview(db, flow) == "undone"
    assert clean(db)


def test_an_undo_that_cannot_be_stored_does_not_keep_the_last_node_from_ending(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, undoable("a"), node("bad", "a"))
    db.execute(
        "insert into pgqueue.tasks (name, app, options, keep, digest) values ('u', 'a', '{\"ordering\": \"block\"}', 'all', '')"
    )
    assert run_due(db, hand, {"bad": DEAD}) == ["a", "bad"]
    assert states(db, flow) == {"a": "completed", "bad": "dead"}
    assert overview(db, flow) == "undoing"
    [(error,)] = db.execute("select error from pgqueue.unresolved")
    assert "The undo of the workflow could not be stored: pgqueue: item 1 has an ordering" in error
    finish(db)
    db.execute("delete from pgqueue.tasks")
    finish(db)
    assert run_due(db, hand) == ["undo of a"]
    assert overview(db, flow) == "undone"
    assert clean(db)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (node("a", undo="u"), "node a: its undo is an object with a task"),
        (node("a", undo={"args": {}}), "node a: its undo has no task"),
        (node("a", undo={"task": "u", "after": ["a"]}), "unknown option .* for its undo"),
        (node("a", undo={"task": "u", "args": []}), "the args of its undo are an object"),
        (node("a", undo={"task": "u", "results": {"x": 1}}), "results of its undo has"),
        (
            node("a", undo={"task": "u", "results": {"x": "b"}}),
            "takes the result of b, which is listed after it",
        ),
        (
            node("a", undo={"task": "u", "results": {"x": "z"}}),
            "takes the result of z, but no node has that name",
        ),
        (node("a", undo={"task": "u", "unique": True}), "unknown option"),
        (node("a", undo={"task": "pgqueue.x"}), "the undo of a node: the name pgqueue.x is reserved"),
        ({"name": "a", "group": [], "undo": {"task": "u"}}, "node a: a group has no undo"),
        (node("pgqueue.rest"), "names that begin with pgqueue. are reserved"),
    ],
)
def test_a_bad_undo_is_refused_when_the_workflow_is_stored(
    db: Connection[Any], bad: dict[str, Any], says: str
) -> None:
    with pytest.raises(psycopg.Error, match=says):
        store(db, bad, node("b"))
    assert db.execute("select count(*) from pgqueue.workflows").fetchone() == (0,)

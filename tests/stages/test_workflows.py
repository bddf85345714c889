"""Workflows: nodes are released when what they wait for has ended, and policies decide what a failure does."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import look, reasons
from tests.worker_by_hand import Hand
from tests.workflows import DEAD, finish, group, ids, node, overview, run_due, states, store

pytestmark = pytest.mark.usefixtures("consistent_workflows")


@pytest.fixture
def hand(db: Connection[Any]) -> Hand:
    return Hand(db, ["t"])


# ------------------------------------------------------------------ order


def test_a_node_is_released_when_the_last_node_that_it_waits_for_has_completed(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, node("a"), node("b"), node("c", "a", "b"))
    assert states(db, flow) == {"a": "pending", "b": "pending", "c": "waiting"}
    first, second = hand.claim()
    assert hand.settle(first, COMPLETED)
    assert states(db, flow)["c"] == "waiting"
    assert hand.settle(second, COMPLETED)
    assert states(db, flow) == {"a": "completed", "b": "completed", "c": "pending"}
    assert run_due(db, hand) == ["c"]
    assert overview(db, flow) == "completed"


def test_two_nodes_that_end_in_one_statement_release_the_node_behind_them_once(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, node("a"), node("b"), node("c", "a", "b"))
    settled = [(attempt.id, attempt.lease_id, COMPLETED) for attempt in hand.claim()]
    assert len(run(db, statements.settle(hand.id, settled))) == 2
    assert run_due(db, hand) == ["c"]
    assert overview(db, flow, "completed") == 3


def test_a_node_runs_after_all_nodes_in_front_of_it_in_a_diamond(db: Connection[Any], hand: Hand) -> None:
    store(db, node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"))
    assert run_due(db, hand) == ["a", "b", "c", "d"]


def test_an_attempt_that_is_tried_again_releases_nothing(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b", "a"))
    [attempt] = hand.claim()
    assert hand.settle(attempt, Outcome.retried(0.0, ValueError("once")))
    assert states(db, flow) == {"a": "retrying", "b": "waiting"}
    assert run_due(db, hand) == ["a", "b"]


def test_an_outcome_under_a_lost_lease_counts_nothing(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b", "a"))
    [attempt] = hand.claim()
    db.execute("update pgqueue.jobs_live set lease_id = lease_id + 2 where id = %s", [attempt.id])
    assert not hand.settle(attempt, COMPLETED)
    assert states(db, flow) == {"a": "running", "b": "waiting"}


def test_a_node_that_is_released_keeps_the_delay_with_which_it_was_stored(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, node("a"), node("b", "a", delay=3600))
    assert run_due(db, hand) == ["a"]
    assert look(db, ids(db, flow)["b"], "state, run_at > now() + interval '50 min'") == ("pending", True)


def test_a_workflow_without_nodes_is_completed(db: Connection[Any]) -> None:
    assert overview(db, store(db)) == "completed"


def test_a_workflow_of_a_transaction_that_is_rolled_back_leaves_nothing(db: Connection[Any]) -> None:
    with db.transaction(force_rollback=True):
        store(db, node("a"), node("b", "a"))
    for table in ("workflows", "nodes", "dependencies", "jobs"):
        assert db.execute(f"select count(*) from pgqueue.{table}".encode()).fetchone() == (0,)


def test_a_settling_that_is_rolled_back_releases_nothing(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b", "a"))
    [attempt] = hand.claim()
    with db.transaction(force_rollback=True):
        assert hand.settle(attempt, COMPLETED)
        assert states(db, flow)["b"] == "pending"
    assert states(db, flow) == {"a": "running", "b": "waiting"}


# ------------------------------------------------------------------ groups


def test_a_group_ends_when_its_last_node_has_ended(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b"), group("all", "a", "b"), node("c", "all"))
    first, second = hand.claim()
    hand.settle(first, COMPLETED)
    assert states(db, flow)["all"] == "waiting"
    hand.settle(second, COMPLETED)
    assert (states(db, flow)["all"], states(db, flow)["c"]) == ("completed", "pending")


def test_an_empty_group_is_completed_from_the_beginning(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, group("none"), group("also none", "none"), node("a", "also none"))
    assert states(db, flow) == {"none": "completed", "also none": "completed", "a": "pending"}
    assert run_due(db, hand) == ["a"]


def test_a_group_of_one_behaves_as_a_larger_group(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), group("one", "a"), node("b", "one", results={"parts": "one"}))
    [attempt] = hand.claim()
    hand.settle(attempt, Outcome.completed("7"))
    assert look(db, ids(db, flow)["b"], "args") == {"parts": [7]}


def test_groups_that_end_one_after_the_other_end_in_one_statement(db: Connection[Any], hand: Hand) -> None:
    flow = store(
        db, node("a"), group("g", "a"), group("h", "g"), group("i", "h", "a"), node("b", "i"), node("c", "g")
    )
    [attempt] = hand.claim()
    hand.settle(attempt, COMPLETED)
    assert set(states(db, flow).values()) == {"completed", "pending"}


# ------------------------------------------------------------------ policies


def test_a_dead_node_cancels_what_needs_it_and_all_behind_that(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b", "a"), node("c", "b"), node("x"))
    assert run_due(db, hand, {"a": DEAD}) == ["a", "x"]
    assert states(db, flow) == {"a": "dead", "b": "cancelled", "c": "cancelled", "x": "completed"}
    found = ids(db, flow)
    assert reasons(db, found["b"]) == [("waiting", "cancelled", "dependency_failed")]
    assert (overview(db, flow), overview(db, flow, "dead, cancelled")) == ("failed", (1, 2))


def test_a_node_for_failures_runs_if_one_of_its_nodes_failed_and_only_after_all_have_ended(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, node("a"), node("b"), node("tell", "a", "b", when="failed"))
    first, second = hand.claim()
    hand.settle(first, DEAD)
    assert states(db, flow)["tell"] == "waiting"
    hand.settle(second, COMPLETED)
    assert run_due(db, hand) == ["tell"]


def test_a_node_for_failures_is_cancelled_if_nothing_failed(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("tell", "a", when="failed"))
    assert run_due(db, hand) == ["a"]
    found = ids(db, flow)
    assert states(db, flow) == {"a": "completed", "tell": "cancelled"}
    assert reasons(db, found["tell"]) == [("waiting", "cancelled", "not_needed")]
    assert overview(db, flow) == "completed"


def test_a_node_for_failures_behind_an_empty_group_is_cancelled_at_once(db: Connection[Any]) -> None:
    flow = store(db, group("none"), node("tell", "none", when="failed"), node("b", "tell"))
    assert states(db, flow) == {"none": "completed", "tell": "cancelled", "b": "cancelled"}


@pytest.mark.parametrize(
    "outcome", [COMPLETED, DEAD, Outcome.cancelled("no")], ids=["completed", "dead", "cancelled"]
)
def test_a_node_for_every_end_runs_after_every_outcome(
    db: Connection[Any], hand: Hand, outcome: Outcome
) -> None:
    store(db, node("a"), node("b", "a", when="ended"))
    assert run_due(db, hand, {"a": outcome}) == ["a", "b"]


def test_a_failure_does_not_keep_later_nodes_from_running_under_continue(
    db: Connection[Any], hand: Hand
) -> None:
    store(db, node("a"), node("b", "a"), node("c", "b", when="completed"), on_failure="continue")
    assert run_due(db, hand, {"a": DEAD}) == ["a", "b", "c"]


def test_a_failure_cancels_all_open_nodes_but_those_for_failures_under_stop(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(
        db, node("a"), node("x"), node("y", "x"), node("tell", "a", "y", when="failed"), on_failure="stop"
    )
    first, second = hand.claim()
    hand.settle(first, DEAD)
    assert overview(db, flow) == "stopping"
    assert finish(db) == 1
    assert look(db, second.id, "cancel_requested") is True
    assert states(db, flow)["y"] == "cancelled"
    hand.settle(second, Outcome.cancelled("asked"))
    assert finish(db) == 1
    assert finish(db) == 0
    assert run_due(db, hand) == ["tell"]
    assert overview(db, flow) == "failed"


def test_a_group_with_a_dead_node_is_dead_and_says_so_to_what_waits_for_it(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(
        db, node("a"), node("b"), group("all", "a", "b"), node("c", "all"), node("d", "all", when="failed")
    )
    assert run_due(db, hand, {"a": DEAD}) == ["a", "b", "d"]
    assert (states(db, flow)["all"], states(db, flow)["c"]) == ("dead", "cancelled")


# ------------------------------------------------------------------ every statement that ends a job


def test_a_crash_limit_resolves_the_node(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b", "a", when="failed"))
    hand.claim()
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s'")
    run(db, statements.rescue(1, 10))
    assert states(db, flow) == {"a": "dead", "b": "pending"}


@pytest.mark.parametrize(("option", "state"), [("deadline", "dead"), ("expires", "cancelled")])
def test_a_deadline_and_an_expiry_resolve_the_node(db: Connection[Any], option: str, state: str) -> None:
    flow = store(db, node("a", **{option: 0.001}), node("b", "a", when="failed"))
    while not run(db, statements.finish_overdue(10)):
        pass
    assert states(db, flow) == {"a": state, "b": "pending"}


def test_the_expiry_of_a_waiting_node_cancels_what_is_behind_it(db: Connection[Any]) -> None:
    flow = store(db, node("a"), node("b", "a", expires=0.001), node("c", "b"))
    while not run(db, statements.finish_overdue(10)):
        pass
    assert states(db, flow) == {"a": "pending", "b": "cancelled", "c": "cancelled"}


def test_a_cancel_resolves_the_node(db: Connection[Any]) -> None:
    flow = store(db, node("a"), node("b", "a"), node("c", "a", when="failed"))
    assert run(db, statements.cancel(ids(db, flow)["a"])) == "cancelled"
    assert states(db, flow) == {"a": "cancelled", "b": "cancelled", "c": "pending"}


def test_a_job_that_no_statement_can_settle_resolves_its_node(db: Connection[Any]) -> None:
    flow = store(db, node("a"), node("b", "a", when="failed"))
    run(db, statements.make_dead(ids(db, flow)["a"], 1, "it is odd"))
    assert states(db, flow) == {"a": "dead", "b": "pending"}


def test_a_row_that_a_person_deletes_resolves_its_node_at_the_next_look_of_the_leader(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, node("a"), node("b", "a"), node("c"))
    db.execute("delete from pgqueue.jobs where id = %s", [ids(db, flow)["a"]])
    assert run(db, statements.mend_nodes((0, 0), 100)).mended
    assert db.execute("select name, state from pgqueue.nodes order by rank").fetchall() == [
        ("a", "cancelled"), ("b", "cancelled"), ("c", None),
    ]  # fmt: skip
    db.execute("delete from pgqueue.nodes where name = 'a'")
    db.execute("update pgqueue.nodes set failed = 0")


def test_a_node_that_a_worker_of_an_earlier_version_completed_is_resolved_by_the_leader(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(db, node("a"), node("b", "a"))
    [attempt] = hand.claim()
    run(db, statements.complete(hand.id, [(attempt.id, attempt.lease_id, True)]))
    assert run(db, statements.mend_nodes((0, 0), 100)).mended
    assert states(db, flow) == {"a": "completed", "b": "pending"}


def test_a_look_for_nodes_whose_jobs_are_gone_goes_on_where_the_last_one_stopped(db: Connection[Any]) -> None:
    store(db, node("a"), node("b"), node("c"))
    first = run(db, statements.mend_nodes((0, 0), 2))
    assert first.last is not None
    second = run(db, statements.mend_nodes(first.last, 2))
    assert second.last is not None
    assert run(db, statements.mend_nodes(second.last, 2)).last is None


# ------------------------------------------------------------------ results


def test_results_become_arguments_of_the_node_that_names_them(db: Connection[Any], hand: Hand) -> None:
    flow = store(
        db, node("a"), node("b", args={"x": 1}, results={"ref": "a"}), node("c", "b", results={"first": "a"})
    )
    run_due(db, hand, {"a": Outcome.completed('{"id": 9}')})
    found = ids(db, flow)
    assert look(db, found["b"], "args") == {"x": 1, "ref": {"id": 9}}
    assert look(db, found["c"], "args") == {"first": {"id": 9}}


def test_the_result_of_a_group_is_a_list_in_the_order_of_the_workflow_also_if_nested(
    db: Connection[Any], hand: Hand
) -> None:
    flow = store(
        db, node("a"), node("b"), group("g", "b", "a"), node("c"), group("h", "c", "g"), group("none"),
        node("d", results={"all": "h", "none": "none"}),
    )  # fmt: skip
    attempts = {attempt.id: attempt for attempt in hand.claim()}
    found = ids(db, flow)
    for name in "cba":
        hand.settle(attempts[found[name]], Outcome.completed(f'"{name}"'))
    assert look(db, found["d"], "args") == {"all": [["a", "b"], "c"], "none": []}


def test_the_result_of_a_node_that_failed_is_null(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b", when="ended", results={"x": "a"}))
    run_due(db, hand, {"a": DEAD})
    assert look(db, ids(db, flow)["b"], "args") == {"x": None}


def test_results_outlive_the_row_of_their_job(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("x"), node("b", "x", results={"r": "a"}))
    first, second = hand.claim()
    hand.settle(first, Outcome.completed("5"))
    db.execute("delete from pgqueue.jobs where id = %s", [first.id])
    hand.settle(second, COMPLETED)
    assert look(db, ids(db, flow)["b"], "args") == {"r": 5}
    db.execute("delete from pgqueue.nodes where id = %s", [first.id])
    db.execute("update pgqueue.dependencies set on_id = %s where on_id = %s", [second.id + 1000, first.id])
    db.execute("delete from pgqueue.dependencies where on_id = %s", [second.id + 1000])


@pytest.mark.parametrize("grouped", [False, True])
def test_results_that_are_too_long_for_arguments_make_the_node_dead_and_not_the_one_that_ended(
    db: Connection[Any], hand: Hand, grouped: bool
) -> None:
    long = Outcome.completed('"' + "x" * 1_100_000 + '"')
    between = [group("g", "a", "b")] if grouped else []
    results = {"r": "g"} if grouped else {"r": "a", "s": "b"}
    flow = store(
        db, node("a"), node("b"), *between, node("c", results=results), node("d", "c", when="failed")
    )
    assert run_due(db, hand, {"a": long, "b": long}) == ["a", "b", "d"]
    assert states(db, flow)["c"] == "dead"
    assert "too long" in look(db, ids(db, flow)["c"], "last_error")

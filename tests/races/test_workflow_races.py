"""Races of nodes that end, with each other and with cancels, edits and stores, in both orders."""

from __future__ import annotations

from typing import Any

import pytest

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import look
from tests.races.two_connections import Players, does, running, settle
from tests.workflows import DEAD, finish, group, ids, node, states, store_row, violations


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("second", [COMPLETED, DEAD], ids=["completed", "dead"])
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_of_two_nodes_that_end_at_once_the_second_one_decides_about_the_node_behind_them(
    players: Players, order: str, second: Outcome, gate: bool
) -> None:
    behind = [group("g", "a", "b"), node("c", "g")] if gate else [node("c", "a", "b")]
    flow, worker, leases = running(players, node("a"), node("b"), *behind)
    first, last = (leases[name] for name in order)
    _, _, waited = players.race(does(settle(worker, *first, COMPLETED)), does(settle(worker, *last, second)))
    assert waited
    assert states(players.db, flow)["c"] == ("pending" if second is COMPLETED else "cancelled")
    assert violations(players.db) == {}


def test_two_nodes_that_nothing_joins_end_without_waiting(players: Players) -> None:
    flow, worker, leases = running(players, node("a"), node("b"), node("c", "a"), node("d", "b"))
    acts = [does(settle(worker, *leases[name], COMPLETED)) for name in "ab"]
    assert not players.race(*acts)[2]
    assert states(players.db, flow)["d"] == "pending"


def test_a_cancel_of_a_waiting_node_during_the_end_of_the_node_in_front_of_it_ends_it_once(
    players: Players,
) -> None:
    flow, worker, leases = running(players, node("a"), node("b", "a"), node("c", "b"))
    job = ids(players.db, flow)["b"]
    _, said, _ = players.race(does(settle(worker, *leases["a"], COMPLETED)), does(statements.cancel(job)))
    assert said == "cancelled"
    assert states(players.db, flow) == {"a": "completed", "b": "cancelled", "c": "cancelled"}
    assert violations(players.db) == {}


@pytest.mark.parametrize("outcome", [COMPLETED, DEAD], ids=["completed", "dead"])
def test_the_end_of_a_node_during_a_cancel_of_the_node_behind_it_waits_only_for_its_counter(
    players: Players, outcome: Outcome
) -> None:
    flow, worker, leases = running(players, node("a"), node("b", "a"), node("c", "b"))
    job = ids(players.db, flow)["b"]
    players.race(does(statements.cancel(job)), does(settle(worker, *leases["a"], outcome)))
    assert states(players.db, flow) == {"a": outcome.state, "b": "cancelled", "c": "cancelled"}
    assert violations(players.db) == {}


@pytest.mark.parametrize(
    ("outcome", "state"), [(COMPLETED, "pending"), (DEAD, "cancelled")], ids=["completed", "dead"]
)
def test_the_end_of_a_node_does_not_wait_for_an_edit_of_the_node_behind_it_which_the_leader_then_resolves(
    players: Players, outcome: Outcome, state: str
) -> None:
    flow, worker, leases = running(players, node("a"), node("b", "a"), node("c", "b"))
    job = ids(players.db, flow)["b"]
    _, _, waited = players.race(
        does(statements.edit(job, {"priority": 7})), does(settle(worker, *leases["a"], outcome))
    )
    assert not waited
    assert states(players.db, flow)["b"] == "waiting"
    assert finish(players.db) == 1
    assert states(players.db, flow)["b"] == state
    assert look(players.db, job, "priority") == 7
    assert violations(players.db) == {}


@pytest.mark.parametrize(
    "outcome", [COMPLETED, DEAD, Outcome.retried(0.0, ValueError("x"))], ids=["completed", "dead", "retried"]
)
def test_a_cancel_of_the_workflow_during_the_end_of_a_node_leaves_nothing_open(
    players: Players, outcome: Outcome
) -> None:
    flow, worker, leases = running(players, node("a"), node("b", "a"), node("c", "b", when="ended"))

    def cancels(connection: Any) -> Any:
        return connection.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone()[0]

    players.race(does(settle(worker, *leases["a"], outcome)), cancels)
    finish(players.db)
    assert set(states(players.db, flow).values()) <= {"completed", "dead", "cancelled"}
    assert states(players.db, flow)["c"] == "cancelled"
    assert violations(players.db) == {}


@pytest.mark.parametrize(
    "outcome", [COMPLETED, DEAD, Outcome.retried(0.0, ValueError("x"))], ids=["completed", "dead", "retried"]
)
def test_the_end_of_a_node_during_a_cancel_of_the_workflow_leaves_nothing_open(
    players: Players, outcome: Outcome
) -> None:
    flow, worker, leases = running(players, node("a"), node("b", "a"), node("c", "b", when="ended"))

    def cancels(connection: Any) -> Any:
        return connection.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone()[0]

    said, _, _ = players.race(cancels, does(settle(worker, *leases["a"], outcome)))
    assert said == "requested"
    finish(players.db)
    assert states(players.db, flow)["b"] == states(players.db, flow)["c"] == "cancelled"
    assert violations(players.db) == {}


def test_of_two_workflows_with_one_key_that_are_stored_at_once_the_second_one_is_the_first(
    players: Players,
) -> None:
    def stores(connection: Any) -> Any:
        return store_row(connection, node("a"), key="k")

    first, second, waited = players.race(stores, stores)
    assert waited
    assert second == (first[0], False, first[2])


def test_a_retry_during_the_end_of_another_node_counts_both_ends(players: Players) -> None:
    flow, worker, leases = running(players, node("a"), node("b"), node("c", "a", "b", when="ended"))
    run(players.db, settle(worker, *leases["a"], DEAD))

    def retries(connection: Any) -> Any:
        return connection.execute("select pgqueue.retry_workflow(%s, 'a')", [flow]).fetchone()[0]

    _, opened, waited = players.race(does(settle(worker, *leases["b"], COMPLETED)), retries)
    assert (opened, waited) == (1, True)
    assert violations(players.db) == {}


def test_a_cancel_of_the_workflow_during_a_retry_ends_what_the_retry_opens(players: Players) -> None:
    flow, worker, leases = running(players, node("a"), node("b", "a"), node("c", delay=3600))
    run(players.db, settle(worker, *leases["a"], DEAD))

    def cancels(connection: Any) -> Any:
        return connection.execute("select pgqueue.cancel_workflow(%s)", [flow]).fetchone()[0]

    _, said, waited = players.race(does(statements.retry_workflow(flow, "a")), cancels)
    assert (said, waited) == ("requested", True)
    finish(players.db)
    assert states(players.db, flow) == dict.fromkeys("abc", "cancelled")
    assert violations(players.db) == {}

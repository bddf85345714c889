"""Races of the end of a workflow's last node, which begins the undo, with retries and cancels, in both orders."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.races.two_connections import Players, claim, does, register, running, settle
from tests.workflows import DEAD, finish, ids, node, overview, states, store, violations

UNDOS = "select name from pgqueue.workflow_nodes where workflow_id = %s and undoes is not null order by rank"
Leases = dict[str, tuple[int, int]]


def last_runs(players: Players) -> tuple[int, int, Leases]:
    """Stores a workflow in which a has completed, bad is dead, and only ``last`` is open: it runs."""
    undo = {"task": "undo"}
    nodes = [node("a", undo=undo), node("last", undo=undo), node("bad", "a", max_attempts=9)]
    flow = store(players.db, *({**made, "task": "task"} for made in nodes))
    worker = register(players.db)
    names = {job: name for name, job in ids(players.db, flow).items()}

    def claimed() -> Leases:
        return {names[row[0]]: (row[0], row[1]) for row in run(players.db, claim(worker, 10))}

    leases = claimed()
    run(players.db, settle(worker, *leases["a"], COMPLETED))
    run(players.db, settle(worker, *claimed()["bad"], DEAD))
    return flow, worker, leases


def undos(players: Players, flow: int) -> list[str]:
    return [name for (name,) in players.db.execute(UNDOS, [flow]).fetchall()]


def calls(function: str, *args: object) -> Any:
    """Returns an act that calls a function of SQL, and returns what it returned, or the message of its error."""

    def act(connection: psycopg.Connection[Any]) -> Any:
        try:
            [found] = connection.execute(
                f"select pgqueue.{function}({', '.join(['%s'] * len(args))})".encode(), args
            )
            return found[0]
        except psycopg.Error as error:
            connection.rollback()
            return str(error)

    return act


@pytest.mark.parametrize("outcome", [COMPLETED, DEAD], ids=["completed", "dead"])
def test_a_retry_during_the_end_of_the_last_node_is_refused_because_the_workflow_was_undone(
    players: Players, outcome: Outcome
) -> None:
    flow, worker, leases = last_runs(players)
    end = does(settle(worker, *leases["last"], outcome))
    _, said, waited = players.race(end, calls("retry_workflow", flow, "bad"))
    assert waited
    assert "cannot run again, because it was undone" in said
    assert undos(players, flow) == [*["undo of last"] * (outcome is COMPLETED), "undo of a"]
    assert violations(players.db) == {}


@pytest.mark.parametrize("outcome", [COMPLETED, DEAD], ids=["completed", "dead"])
def test_the_end_of_the_last_node_during_a_retry_undoes_nothing_until_the_retried_node_has_ended(
    players: Players, outcome: Outcome
) -> None:
    flow, worker, leases = last_runs(players)
    end = does(settle(worker, *leases["last"], outcome))
    opened, _, waited = players.race(calls("retry_workflow", flow, "bad"), end)
    assert (opened, waited) == (1, True)
    assert undos(players, flow) == []
    [row] = run(players.db, claim(worker, 10))
    run(players.db, settle(worker, row[0], row[1], DEAD))
    assert undos(players, flow) == [*["undo of last"] * (outcome is COMPLETED), "undo of a"]
    assert violations(players.db) == {}


@pytest.mark.parametrize("outcome", [COMPLETED, Outcome.cancelled("asked")], ids=["completed", "cancelled"])
@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_cancel_and_the_end_of_the_last_node_begin_one_undo_in_either_order(
    players: Players, outcome: Outcome, cancel_first: bool
) -> None:
    flow, worker, leases = last_runs(players)
    acts = [calls("cancel_workflow", flow), does(settle(worker, *leases["last"], outcome))]
    players.race(*(acts if cancel_first else reversed(acts)))
    finish(players.db)
    assert undos(players, flow) == [*["undo of last"] * (outcome is COMPLETED), "undo of a"]
    assert overview(players.db, flow) == "undoing"
    assert violations(players.db) == {}


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_workflow_whose_last_node_completes_during_its_cancel_is_undone_if_the_cancel_was_accepted(
    players: Players, cancel_first: bool
) -> None:
    undo = {"task": "undo"}
    flow = store(players.db, {**node("a", undo=undo), "task": "task"})
    worker = register(players.db)
    [row] = run(players.db, claim(worker, 10))
    acts = [calls("cancel_workflow", flow), does(settle(worker, row[0], row[1], COMPLETED))]
    said = players.race(*(acts if cancel_first else reversed(acts)))[0 if cancel_first else 1]
    finish(players.db)
    finish(players.db)
    assert said == "requested"
    assert undos(players, flow) == ["undo of a"]


def test_a_retry_that_waits_for_a_cancel_which_stores_the_undos_meanwhile_is_refused(
    players: Players,
) -> None:
    """The last node completed during the cancel, so the cancel itself stores the undos, after it has locked the workflow."""
    flow, worker, leases = running(players, node("a", undo={"task": "undo"}))
    run(players.db, settle(worker, *leases["a"], COMPLETED))

    def stops(connection: psycopg.Connection[Any]) -> None:
        connection.execute(
            "update pgqueue.workflows set stop_reason = 'workflow_cancelled' where id = %s", [flow]
        )

    with players.during(stops, calls("retry_workflow", flow, "a", True)) as retry:
        assert not retry.done()
        players.one.execute(
            "select pgqueue.begin_undo(n.id) from pgqueue.nodes n where n.workflow_id = %s and n.undoes = 0",
            [flow],
        )
    assert "cannot run again, because it was undone" in retry.result()
    assert undos(players, flow) == ["undo of a"]
    assert states(players.db, flow)["a"] == "completed"
    assert violations(players.db) == {}


def test_the_end_of_the_last_node_does_not_wait_for_a_transaction_that_has_locked_the_workflow(
    players: Players,
) -> None:
    flow, worker, leases = last_runs(players)

    def locks(connection: psycopg.Connection[Any]) -> None:
        connection.execute("select from pgqueue.workflows where id = %s for update", [flow])

    _, _, waited = players.race(locks, does(settle(worker, *leases["last"], COMPLETED)))
    assert not waited
    assert undos(players, flow) == []
    assert overview(players.db, flow) == "undoing"
    finish(players.db)
    assert undos(players, flow) == ["undo of last", "undo of a"]
    assert violations(players.db) == {}


def test_two_leaders_that_look_again_at_the_same_workflow_begin_one_undo(players: Players) -> None:
    flow, worker, leases = last_runs(players)

    def locks(connection: psycopg.Connection[Any]) -> None:
        connection.execute("select from pgqueue.workflows where id = %s for update", [flow])

    players.race(locks, does(settle(worker, *leases["last"], COMPLETED)))
    gate = "select id from pgqueue.nodes where undoes = 0"
    again = calls("resolve", [players.db.execute(gate).fetchone()[0]], [None], [None], [None])  # type: ignore[index]
    players.race(again, again)
    finish(players.db)
    assert undos(players, flow) == ["undo of last", "undo of a"]

"""complete_nodes.sql does for nodes that completed what settle.sql does, at a fraction of the cost."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from tests.worker_by_hand import Hand
from tests.workflows import group, ids, node, overview, run_due, states, store, violations

CANCELLED = Outcome.cancelled("asked")


@pytest.fixture
def hand(db: Connection[Any]) -> Hand:
    return Hand(db, ["t"])


def test_nodes_that_complete_together_release_what_waits_for_them(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b"), group("g", "a", "b"), node("c", "g"), node("d", "a"))
    assert len(hand.complete_nodes(*hand.claim())) == 2
    assert states(db, flow) == {
        "a": "completed",
        "b": "completed",
        "g": "completed",
        "c": "pending",
        "d": "pending",
    }
    assert violations(db) == {}


def test_results_of_nodes_become_arguments_also_if_some_have_none(db: Connection[Any], hand: Hand) -> None:
    flow = store(
        db, node("a"), node("b"), group("g", "a", "b"), node("c", results={"x": "a", "y": "b", "all": "g"})
    )
    numbers = ids(db, flow)
    hand.complete_nodes(*hand.claim(), results={numbers["b"]: '{"n": [1, "two"]}'})
    [(args,)] = db.execute("select args from pgqueue.jobs_live where id = %s", [numbers["c"]])
    assert args == {"x": None, "y": {"n": [1, "two"]}, "all": [None, {"n": [1, "two"]}]}
    assert db.execute("select result from pgqueue.jobs_done order by id").fetchall() == [
        (None,),
        ({"n": [1, "two"]},),
    ]


def test_a_chain_can_complete_in_one_statement_after_a_retry_of_its_beginning(
    db: Connection[Any], hand: Hand
) -> None:
    """Node b waits for a and has a smaller id than c, so the nodes cannot be written before those that wait for them."""
    flow = store(db, node("a"), node("b", "a", when="ended"), node("c"))
    numbers = ids(db, flow)
    first, third = hand.claim()
    db.execute("select pgqueue.cancel(%s)", [numbers["a"]])
    hand.settle(first, CANCELLED)
    [second] = hand.claim()
    assert db.execute("select pgqueue.retry_workflow(%s, 'a')", [flow]).fetchone() == (1,)
    [again] = hand.claim()
    assert sorted(hand.complete_nodes(again, second, third)) == sorted([again.id, second.id, third.id])
    assert overview(db, flow) == "completed"
    assert violations(db) == {}


def test_a_node_whose_row_is_not_kept_is_resolved_too(db: Connection[Any], hand: Hand) -> None:
    flow = store(db, node("a"), node("b", "a"))
    [attempt] = hand.claim()
    assert run(db, statements.complete_nodes(hand.id, [(attempt.id, attempt.lease_id, False, None)])) == [
        attempt.id
    ]
    assert states(db, flow) == {"a": "completed", "b": "pending"}
    assert db.execute("select count(*) from pgqueue.jobs_done").fetchone() == (0,)
    run_due(db, hand)
    assert overview(db, flow) == "completed"


def test_an_end_changes_no_index_of_the_nodes(db: Connection[Any], hand: Hand) -> None:
    """So the new version of each row is in the page of the old one."""
    store(db, *[node(f"n{n}") for n in range(200)], group("g", *[f"n{n}" for n in range(200)]))
    hand.complete_nodes(*hand.claim(200))
    db.execute("select pg_stat_force_next_flush()")
    [(updated, hot)] = db.execute(
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'nodes'"
    )
    assert updated == hot > 200

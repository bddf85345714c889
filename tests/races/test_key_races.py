"""Unique keys and idempotency keys against each other and against the end of their holder."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue import statements
from pgqueue.database import run
from pgqueue.outcome import COMPLETED, Outcome
from tests.races.players import SETUP, Act, Players, claim, does, enqueue, register, row, settle

Rows = list[tuple[int, bool, str | None]]


def enqueues(*jobs: dict[str, Any], args: dict[str, Any] | None = None) -> Act:
    """(id, created, conflict) of each."""

    def act(connection: Connection[Any]) -> Rows:
        items = Jsonb([{"task": SETUP, "args": args or {}, **job} for job in jobs])
        return connection.execute(
            "select id, created, conflict from pgqueue.enqueue_many(%s) order by item", [items]
        ).fetchall()

    return act


def running_holder(players: Players) -> tuple[int, int]:
    """(worker, job) of a running job with the key k."""
    worker_id, job_id = register(players.db), enqueue(players.db, unique_key="k")
    assert len(run(players.db, claim(worker_id))) == 1
    return worker_id, job_id


@pytest.mark.parametrize("key", ["unique_key", "idempotency_key"])
def test_two_enqueues_of_one_key(players: Players, key: str) -> None:
    first, second, waited = players.race(enqueues({key: "k"}), enqueues({key: "k"}))
    assert waited
    [(job_id, created, _)] = first
    assert created
    assert second == [(job_id, False, key)]
    assert players.db.execute("select count(*) from pgqueue.jobs").fetchone() == (1,)


@pytest.mark.parametrize("key", ["unique_key", "idempotency_key"])
def test_the_first_enqueue_is_rolled_back(players: Players, key: str) -> None:
    with players.during(enqueues({key: "k"}), enqueues({key: "k"})) as later:
        assert not later.done()
        players.one.rollback()
        [(job_id, created, _)] = later.result(timeout=20)
    assert created
    assert row(players.db, job_id) == ("pending",)


def test_an_idempotency_key_with_other_arguments(players: Players) -> None:
    first, second, waited = players.race(
        enqueues({"idempotency_key": "k"}, args={"n": 1}),
        enqueues({"idempotency_key": "k"}, {"idempotency_key": "other"}, args={"n": 2}),
    )
    assert waited
    assert second[0] == (first[0][0], False, "idempotency_mismatch")
    assert players.db.execute("select count(*) from pgqueue.jobs").fetchone() == (1,)
    assert players.db.execute("select count(*) from pgqueue.idempotency_keys").fetchone() == (1,)


@pytest.mark.parametrize(
    "outcome",
    [COMPLETED, Outcome.dead("permanent_error", ValueError("no")), Outcome.cancelled("enough")],
    ids=lambda outcome: outcome.state,
)
def test_the_holder_finishes_then_enqueue(players: Players, outcome: Outcome) -> None:
    """The key is free the moment the holder's end commits."""
    worker_id, holder = running_holder(players)
    _, [(job_id, created, _)], waited = players.race(
        does(settle(worker_id, holder, 1, outcome)), enqueues({"unique_key": "k"})
    )
    assert waited
    assert created
    assert job_id != holder
    assert row(players.db, job_id) == ("pending",)


def test_enqueue_then_the_holder_finishes(players: Players) -> None:
    """A duplicate was a duplicate at its time, and holds nobody up."""
    worker_id, holder = running_holder(players)
    found, settled, waited = players.race(
        enqueues({"unique_key": "k"}), does(settle(worker_id, holder, 1, COMPLETED))
    )
    assert not waited
    assert found == [(holder, False, "unique_key")]
    assert settled == [holder]


@pytest.mark.parametrize("key", ["unique_key", "idempotency_key"])
def test_two_batches_in_opposite_order_do_not_deadlock(players: Players, key: str) -> None:
    names = [f"k{number:02}" for number in range(20)]
    first, second, waited = players.race(
        enqueues(*({key: name} for name in names)), enqueues(*({key: name} for name in reversed(names)))
    )
    assert waited
    assert all(created for _, created, _ in first)
    assert [found for found, _, _ in second] == [found for found, _, _ in reversed(first)]
    assert not any(created for _, created, _ in second)


def test_batches_that_overlap_share_the_keys(players: Players) -> None:
    first, second, waited = players.race(
        enqueues({"unique_key": "a"}, {"unique_key": "c"}, {}),
        enqueues({"unique_key": "d"}, {"unique_key": "c"}, {"unique_key": "b"}, {}),
    )
    assert waited
    assert [created for _, created, _ in first] == [True, True, True]
    assert [created for _, created, _ in second] == [True, False, True, True]
    assert second[1][0] == first[1][0]


def test_revive_then_enqueue_of_its_key(players: Players) -> None:
    dead = dead_holder(players)
    said, [(job_id, created, conflict)], waited = players.race(
        does(statements.revive(dead)), enqueues({"unique_key": "k"})
    )
    assert waited
    assert said == "revived"
    assert (job_id, created, conflict) == (dead, False, "unique_key")


def test_enqueue_then_revive_of_its_key(players: Players) -> None:
    dead = dead_holder(players)
    [(job_id, created, _)], said, waited = players.race(
        enqueues({"unique_key": "k"}), does(statements.revive(dead))
    )
    assert waited
    assert created
    assert said == "unique_key"
    assert (row(players.db, dead), row(players.db, job_id)) == (("dead",), ("pending",))


def dead_holder(players: Players) -> int:
    worker_id, holder = running_holder(players)
    run(players.db, settle(worker_id, holder, 1, Outcome.dead("permanent_error", ValueError("no"))))
    return holder

"""Races of two transactions that enqueue, end or revive jobs with the same key. The holder of a key is the job that has it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from tests.factories import row
from tests.races.two_connections import (
    Players,
    does,
    enqueues,
    running_holder,
    settle,
)
from tests.waiting import wait_until


@pytest.mark.parametrize("key", ["unique_key", "idempotency_key"])
def test_the_second_of_two_enqueues_with_the_same_key_waits_and_stores_no_job(
    players: Players, key: str
) -> None:
    first, second, waited = players.race(enqueues({key: "k"}), enqueues({key: "k"}))
    assert waited
    [(job_id, created, _)] = first
    assert created
    assert second == [(job_id, False, key)]
    assert players.db.execute("select count(*) from pgqueue.jobs").fetchone() == (1,)


@pytest.mark.parametrize("key", ["unique_key", "idempotency_key"])
def test_an_enqueue_stores_its_job_if_the_enqueue_for_which_it_waits_is_rolled_back(
    players: Players, key: str
) -> None:
    with players.during(enqueues({key: "k"}), enqueues({key: "k"})) as later:
        assert not later.done()
        players.one.rollback()
        [(job_id, created, _)] = later.result(timeout=20)
    assert created
    assert row(players.db, job_id) == ("pending",)


def test_an_enqueue_stores_nothing_if_its_idempotency_key_was_used_before_with_other_arguments(
    players: Players,
) -> None:
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
def test_an_enqueue_stores_a_new_job_if_the_holder_of_its_key_finishes_meanwhile(
    players: Players, outcome: Outcome
) -> None:
    """The key is free as soon as the end of the holder is committed."""
    worker_id, holder, lease_id = running_holder(players)
    _, [(job_id, created, _)], waited = players.race(
        does(settle(worker_id, holder, lease_id, outcome)), enqueues({"unique_key": "k"})
    )
    assert waited
    assert created
    assert job_id != holder
    assert row(players.db, job_id) == ("pending",)


def test_the_settling_of_a_job_does_not_wait_for_an_enqueue_with_the_jobs_key(players: Players) -> None:
    """The enqueue is a duplicate, because the holder of the key was still running when the enqueue began."""
    worker_id, holder, lease_id = running_holder(players)
    found, settled, waited = players.race(
        enqueues({"unique_key": "k"}), does(settle(worker_id, holder, lease_id, COMPLETED))
    )
    assert not waited
    assert found == [(holder, False, "unique_key")]
    assert settled == [holder]


@pytest.mark.parametrize("key", ["unique_key", "idempotency_key"])
def test_two_batches_with_the_same_keys_in_opposite_order_do_not_deadlock(players: Players, key: str) -> None:
    names = [f"k{number:02}" for number in range(20)]
    first, second, waited = players.race(
        enqueues(*({key: name} for name in names)), enqueues(*({key: name} for name in reversed(names)))
    )
    assert waited
    assert all(created for _, created, _ in first)
    assert [found for found, _, _ in second] == [found for found, _, _ in reversed(first)]
    assert not any(created for _, created, _ in second)


@pytest.mark.parametrize("key", ["unique_key", "idempotency_key", "throttle"])
def test_batches_that_take_their_keys_at_the_same_time_do_not_deadlock(
    players: Players, connect: Callable[..., Connection[Any]], key: str
) -> None:
    """Two batches have the same keys in opposite order. Both wait for a third batch. When the third batch ends, both go on at the same moment."""

    def batch(*names: str) -> Jsonb:
        rest = {"throttle": 60} if key == "throttle" else {}
        return Jsonb([{"task": "task", "unique_key" if rest else key: name, **rest} for name in names])

    one, two = connect(), connect()
    for own in (one, two):
        own.execute("set deadlock_timeout = '10ms'")
    pids = [one.info.backend_pid, two.info.backend_pid]
    enqueue = "select created from pgqueue.enqueue_many(%s)"
    blocked = "select count(*) from unnest(%s::int[]) p where cardinality(pg_blocking_pids(p)) > 0"
    with ThreadPoolExecutor(2) as pool:
        for repetition in range(25):
            names = [f"{repetition} {number:02}" for number in range(200)]
            with players.one.transaction():
                players.one.execute(enqueue, [batch(names[0], names[-1])])
                both = [
                    pool.submit(lambda own, jobs: own.execute(enqueue, [jobs]).fetchall(), own, batch(*order))
                    for own, order in ((one, names), (two, names[::-1]))
                ]
                wait_until(lambda: players.db.execute(blocked, [pids]).fetchone() == (2,))
            players.one.commit()
            made = [sum(created for (created,) in future.result(timeout=60)) for future in both]
            assert sum(made) == 198


def test_a_batch_returns_the_job_of_another_batch_for_a_key_that_both_batches_have(players: Players) -> None:
    first, second, waited = players.race(
        enqueues({"unique_key": "a"}, {"unique_key": "c"}, {}),
        enqueues({"unique_key": "d"}, {"unique_key": "c"}, {"unique_key": "b"}, {}),
    )
    assert waited
    assert [created for _, created, _ in first] == [True, True, True]
    assert [created for _, created, _ in second] == [True, False, True, True]
    assert second[1][0] == first[1][0]


def test_an_enqueue_that_waits_for_the_revive_of_the_holder_of_its_key_returns_the_revived_job(
    players: Players,
) -> None:
    dead = dead_holder(players)
    said, [(job_id, created, conflict)], waited = players.race(
        does(statements.revive(dead)), enqueues({"unique_key": "k"})
    )
    assert waited
    assert said == "revived"
    assert (job_id, created, conflict) == (dead, False, "unique_key")


def test_a_revive_that_waits_for_an_enqueue_with_the_key_of_the_dead_job_changes_nothing(
    players: Players,
) -> None:
    dead = dead_holder(players)
    [(job_id, created, _)], said, waited = players.race(
        enqueues({"unique_key": "k"}), does(statements.revive(dead))
    )
    assert waited
    assert created
    assert said == "unique_key"
    assert (row(players.db, dead), row(players.db, job_id)) == (("dead",), ("pending",))


def dead_holder(players: Players) -> int:
    worker_id, holder, lease_id = running_holder(players)
    run(players.db, settle(worker_id, holder, lease_id, Outcome.dead("permanent_error", ValueError("no"))))
    return holder
